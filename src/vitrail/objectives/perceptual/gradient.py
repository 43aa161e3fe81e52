"""Multi-scale gradient difference: edges must be as steep, and where they were, at several resolutions.

Sources: Mathieu et al. 2016, "Deep multi-scale video prediction beyond mean square error", section 3.2, whose eq. 6 compares the
sizes of the differences and not, as here, their signs too; the scales as in multi-scale structural similarity (Wang et al. 2003).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.networks.convolution import MEAN
from vitrail.objectives.perceptual._perceptual import Perceptual
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec


class Config(PartConfig):
    """1 to 3 space axes, any channels."""

    usual_weights: ClassVar = {"perceptual": 0.1}

    scales: int = Field(3, ge=1, description="resolutions that are compared, each half the one before")

    def build(self, spec: DataSpec) -> Perceptual:
        """Raises UsageError for data without space axes, or too small for so many scales."""
        if not spec.space:
            raise UsageError("perceptual=gradient wants data with space axes, and this has none; leave it out")
        if (side := min(spec.space)) < 2**self.scales:
            fit = side.bit_length() - 1
            raise UsageError(f"perceptual.scales={self.scales} wants sides of {2**self.scales}, got {side}; take {fit}")
        return Gradient(self)


class Gradient(Perceptual):
    """Mean over scales and axes of mean |d x_hat - d x|, where d is the difference of neighbours along an axis."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            # All that follows is linear but for the last absolute value.
            difference = x_hat.float() - x.detach().float()
            found = [steepness(difference)]
            for _ in range(self.config.scales - 1):
                difference = MEAN[x.dim() - 2](difference, 2)
                found.append(steepness(difference))
            return torch.stack(found).mean(0)


def steepness(x: Tensor) -> Tensor:
    """(B, C, *S) -> (B,): mean over axes of the mean size of differences between neighbours."""
    return torch.stack([x.diff(dim=axis).abs().flatten(1).mean(1) for axis in range(2, x.dim())]).mean(0)
