"""Loss of resolution: averaged down by a whole factor, interpolated back up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from vitrail.data.degradations import Degradation
from vitrail.types import Config as PartConfig

SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}  # by number of space axes


class Config(PartConfig):
    """How much resolution is lost."""

    factor: int = Field(4, ge=2, description="largest factor by which each side shrinks")
    least: int = Field(2, ge=1, description="smallest factor; each sample draws its own")

    def build(self) -> Degradation:
        return partial(downscaled, least=min(self.least, self.factor), most=self.factor)


def downscaled(x: Tensor, rngs: Sequence[np.random.Generator], least: int, most: int) -> Tensor:
    """Each sample of (B, C, *S) at the resolution of its own factor, but of the same size."""
    factors = [int(rng.integers(least, most + 1)) for rng in rngs]
    return torch.cat([coarse(sample[None], factor) for sample, factor in zip(x, factors, strict=True)])


def coarse(x: Tensor, factor: int) -> Tensor:
    """Area average to 1/factor of each side (rounded up), then linear interpolation back."""
    space = x.shape[2:]
    small = F.interpolate(x, size=[max(1, -(-side // factor)) for side in space], mode="area")
    return F.interpolate(small, size=space, mode=SMOOTH[len(space)], align_corners=False).clamp(0, 1)
