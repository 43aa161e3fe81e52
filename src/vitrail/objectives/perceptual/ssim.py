"""Structural similarity as a distance: local mean, contrast and structure instead of single values.

Source: Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity", eq. 13.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.networks.products import float32_product
from vitrail.objectives.perceptual._perceptual import Perceptual
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

SIGMA = 1.5  # points, of the Gaussian window
WINDOW = 11  # points, as published
C1, C2 = 0.01**2, 0.03**2  # for values in [0, 1]


class Config(PartConfig):
    """1 to 3 space axes, any channels."""

    usual_weights: ClassVar = {"perceptual": 0.05}

    window: int | None = Field(
        None,
        ge=3,
        description="points along an axis that are compared together; odd. None: 11, or as many as fit",
    )

    def build(self, spec: DataSpec) -> Perceptual:
        """Raises UsageError for data without space axes, or smaller than the window, and for an even window."""
        if not spec.space:
            raise UsageError("perceptual=ssim wants data with space axes, and this has none; leave it out")
        side = min(spec.space)
        fit = max(3, side - 1 + side % 2)
        window = min(WINDOW, fit) if self.window is None else self.window
        if window % 2 == 0 or side < window:
            raise UsageError(f"perceptual.window={window} wants to be odd and to fit into {spec.space}; take {fit}")
        return Ssim(window)


class Ssim(Perceptual):
    """1 - mean structural similarity over channels and the positions where the window lies inside: 0 to 2.

    In float32, unlike the metric `ssim`, which it therefore meets to about 1e-5.
    """

    kernel: Tensor

    def __init__(self, window: int) -> None:
        super().__init__()
        offset = torch.arange(window) - window // 2
        self.register_buffer("kernel", torch.softmax(-0.5 * (offset / SIGMA) ** 2, 0), persistent=False)

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            a, b = x_hat.float(), x.detach().float()
            mean_a, square_a, product = self._local(torch.cat([a, a * a, a * b], dim=1)).chunk(3, dim=1)
            mean_b, square_b = self._local(torch.cat([b, b * b], dim=1)).chunk(2, dim=1)  # which nothing is learnt from
            var_a, var_b = square_a - mean_a**2, square_b - mean_b**2
            covariance = product - mean_a * mean_b
            brightness = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
            structure = (2 * covariance + C2) / (var_a + var_b + C2)
            return (1 - brightness * structure).flatten(1).mean(1)

    def _local(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> weighted mean around every position that has the whole window around it.

        Products with banded matrices: for sides of some hundred points faster than convolutions of one channel. Never TF32:
        of the variances, small differences of large means, nothing would be left.
        """
        for axis in range(2, x.dim()):
            x = float32_product(x.movedim(axis, -1), self._band(x.shape[axis])).movedim(-1, axis)
        return x

    def _band(self, side: int) -> Tensor:
        """(side, side - window + 1), whose column i holds the window from row i on."""
        window, rows = len(self.kernel), torch.arange(side, device=self.kernel.device)
        offset = rows[:, None] - rows[: side - window + 1]
        return torch.where((offset >= 0) & (offset < window), self.kernel[offset.clamp(0, window - 1)], 0.0)
