"""Squared error: the Gaussian likelihood with a fixed variance of 1/2, up to a constant."""

from __future__ import annotations

from torch import Tensor

from vitrail.objectives.reconstruction._likelihood import Likelihood, to_data
from vitrail.types import Config as PartConfig


class Config(PartConfig):
    """Squared error has no settings."""

    def build(self, channels: int) -> SquaredError:
        return SquaredError(channels, outputs=channels)


class SquaredError(Likelihood):
    """Sum of squared errors per sample."""

    def cost(self, params: Tensor, x: Tensor) -> Tensor:
        return (to_data(params) - x).square()

    def centre(self, params: Tensor) -> Tensor:
        return to_data(params)
