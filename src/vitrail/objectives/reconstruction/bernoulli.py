"""Bernoulli likelihood of each value: for binary data, and customary for MNIST-like pictures."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from vitrail.objectives.reconstruction._likelihood import Likelihood
from vitrail.types import Config as PartConfig


class Config(PartConfig):
    """The Bernoulli likelihood has no settings."""

    def build(self, channels: int) -> Bernoulli:
        return Bernoulli(channels, outputs=channels)


class Bernoulli(Likelihood):
    """Cross-entropy in nats; params are logits.

    A probability for x in {0, 1} only. For grey values it is not normalised (Loaiza-Ganem & Cunningham 2019),
    hence not `exact`: its smallest value is the entropy of x, not 0.
    """

    def cost(self, params: Tensor, x: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(params, x, reduction="none")

    def centre(self, params: Tensor) -> Tensor:
        return params.sigmoid()
