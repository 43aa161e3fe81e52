"""Focal frequency loss: squared error per frequency, where the frequencies that are worst off count most.

Plain squared error is spread over frequencies as the data's energy is, so fine detail, which has little of it, comes last.
Source: Jiang et al. 2021, "Focal frequency loss for image reconstruction and synthesis", eq. 8 and 9.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.objectives.perceptual._perceptual import Perceptual
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

SMALLEST = 1e-30  # of a largest error by which is divided


class Config(PartConfig):
    """1 to 3 space axes, any channels."""

    usual_weights: ClassVar = {"perceptual": 1.0}

    alpha: float = Field(
        1.0, ge=0, description="how much the worst frequencies stand out; 0: none, which is the mean squared error"
    )
    patches: int = Field(1, ge=1, description="parts into which every axis is cut before it is transformed")

    def build(self, spec: DataSpec) -> Perceptual:
        """Raises UsageError for data without space axes, or whose axes cannot be cut into so many parts."""
        if not spec.space:
            raise UsageError("perceptual=frequency wants data with space axes, and this has none; leave it out")
        if any(side % self.patches or side // self.patches < 2 for side in spec.space):
            raise UsageError(
                f"perceptual.patches={self.patches} does not divide {spec.space} into parts of 2 or more; take a divisor"
            )
        return Frequency(self)


class Frequency(Perceptual):
    """mean over frequencies of w |F(x_hat) - F(x)|^2, where w = (|F(x_hat) - F(x)| / its largest)^alpha takes no gradient.

    F is the orthonormal Fourier transform over all space axes, the largest is that of each sample, channel and patch.
    Mean over channels and patches. Never above the mean squared error, by Parseval's theorem.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            difference = (x_hat.float() - x.detach().float()).contiguous()
            for axis in range(2, x.dim()):
                difference = torch.cat(difference.chunk(self.config.patches, axis), 1)
            return self._focal(difference)

    def _focal(self, difference: Tensor) -> Tensor:
        """(B, C, *S) -> (B,). The transform is linear, so that of the difference is the difference of the transforms."""
        axes = tuple(range(2, difference.dim()))
        half = torch.fft.rfftn(difference, dim=axes, norm="ortho")
        error = half.real.square() + half.imag.square()
        largest = error.detach().amax(axes, keepdim=True).clamp_min(SMALLEST)
        weight = (error.detach() / largest) ** (self.config.alpha / 2)
        total = (weight * error * mirrored(difference.shape[-1], error)).flatten(1).sum(1)
        return total / difference[0].numel()


def mirrored(side: int, half: Tensor) -> Tensor:
    """(side // 2 + 1,): how many frequencies of the last axis each one of the half spectrum stands for.

    A real signal's spectrum is symmetric; the constant and, of an even length, the highest frequency are their own mirrors.
    """
    counts = half.new_full((half.shape[-1],), 2.0)
    counts[0] = 1.0
    if side % 2 == 0:
        counts[-1] = 1.0
    return counts
