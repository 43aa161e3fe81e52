"""Absolute error: the Laplace likelihood with a fixed scale of 1, up to a constant."""

from __future__ import annotations

from torch import Tensor

from vitrail.objectives.reconstruction._likelihood import Likelihood, to_data
from vitrail.types import Config as PartConfig


class Config(PartConfig):
    """Absolute error has no settings."""

    def build(self, channels: int) -> AbsoluteError:
        return AbsoluteError(channels, outputs=channels)


class AbsoluteError(Likelihood):
    """Sum of absolute errors per sample."""

    def cost(self, params: Tensor, x: Tensor) -> Tensor:
        return (to_data(params) - x).abs()

    def centre(self, params: Tensor) -> Tensor:
        return to_data(params)
