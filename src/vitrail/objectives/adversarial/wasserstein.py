"""The Wasserstein game: the discriminator is a critic whose slope is kept near 1 by a penalty, not a classifier.

Sources: Arjovsky et al. 2017; penalty: Gulrajani et al. 2017, "Improved training of Wasserstein GANs".
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from vitrail.objectives.adversarial._adversarial import Adversarial, Settings


class Config(Settings):
    """The Wasserstein game."""

    gradient_penalty: bool = Field(
        True, description="report the penalty `gradient_penalty`, without which the critic's slope has no bound"
    )

    def build(self) -> Adversarial:
        return Wasserstein(self)


class Wasserstein(Adversarial):
    """Critic: D(x_hat) - D(x), whose negative estimates the distance.   Decoder: -D(x_hat)."""

    def judged(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def fooled(self, fake: Tensor) -> Tensor:
        return -fake.mean()
