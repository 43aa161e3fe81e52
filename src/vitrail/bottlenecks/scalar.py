"""Values rounded to a few levels, each channel by itself: what a prior over the pixels of a picture counts with.

Nothing is learnt. Behind the identity encoder, 2 levels are black and white, and 256 all that an 8-bit picture can hold.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck, use
from vitrail.types import Config as PartConfig
from vitrail.types import Latent


class Config(PartConfig):
    """Equal steps from -1 to 1."""

    size: int = Field(
        256, ge=1, le=1 << 16, description="K, values per channel; 256: those of 8-bit data, 2: black and white"
    )

    def build(self, width: int) -> Bottleneck:
        return Scalar(self.size, width)


class Scalar(Bottleneck):
    """h (B, C, *S), meant for [-1, 1] -> z (B, C, *S), the nearest of K levels, and codes (B, C, *S), 0 the lowest.

    The gradient passes straight through.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size, self.levels, self.channels = size, width, width

    def squeeze(self, h: Tensor) -> Latent:
        place = (h.detach().nan_to_num(0.0) + 1) / 2 * (self.size - 1)
        codes = place.clamp(0, self.size - 1).round().long()
        z = self.values(codes)
        if self.training:
            z = z + (h - h.detach())
        return Latent(z, codes, stats=use(codes, self.size))

    def values(self, codes: Tensor) -> Tensor:
        return self._level(codes)

    def codebook(self, level: int = 0) -> Tensor:
        return self._level(torch.arange(self.size, device=self.progress.device)).unsqueeze(1)

    def _level(self, codes: Tensor) -> Tensor:
        """Codes to [-1, 1]; a single one is in the middle."""
        return codes.float() * (2 / (self.size - 1)) - 1 if self.size > 1 else torch.zeros_like(codes).float()
