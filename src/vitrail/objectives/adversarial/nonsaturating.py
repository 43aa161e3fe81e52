"""The non-saturating logistic game of the first GAN: the decoder maximises the chance of being taken for data.

Source: Goodfellow et al. 2014, section 3; with R1 the game of StyleGAN (Karras et al. 2019).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from vitrail.objectives.adversarial._adversarial import Adversarial, Settings


class Config(Settings):
    """The non-saturating logistic game."""

    def build(self) -> Adversarial:
        return NonSaturating(self)


class NonSaturating(Adversarial):
    """With sigma(D) the chance of being data, in nats. Discriminator: (-log sigma(D(x)) - log(1 - sigma(D(x_hat)))) / 2.

    Decoder: -log sigma(D(x_hat)).
    """

    def judged(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (softplus(-real).mean() + softplus(fake).mean())

    def fooled(self, fake: Tensor) -> Tensor:
        return softplus(-fake).mean()
