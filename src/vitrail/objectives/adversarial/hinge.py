"""The hinge game: a judgement that is right by a margin of 1 costs nothing more.

Sources: Lim & Ye 2017, "Geometric GAN"; as the discriminator of VQGAN (Esser et al. 2021).
"""

from __future__ import annotations

from torch import Tensor

from vitrail.objectives.adversarial._adversarial import Adversarial, Settings


class Config(Settings):
    """The hinge game."""

    def build(self) -> Adversarial:
        return Hinge(self)


class Hinge(Adversarial):
    """Discriminator: (max(0, 1 - D(x)) + max(0, 1 + D(x_hat))) / 2.   Decoder: -D(x_hat)."""

    def judged(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((1 - real).relu().mean() + (1 + fake).relu().mean())

    def fooled(self, fake: Tensor) -> Tensor:
        return -fake.mean()
