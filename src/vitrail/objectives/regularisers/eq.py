"""Equivariance: a latent that is scaled or rotated decodes to the picture that is scaled or rotated alike.

It makes latents smoother, so that priors learn them faster, and costs little quality.
Source: Kouzelis et al. 2025, "EQ-VAE: equivariance regularized latent space for improved generative image modeling", section 3.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.objectives.regularisers._regulariser import Cost, Regulariser
from vitrail.types import Config as PartConfig
from vitrail.types import LatentSpec

STEPS = 32  # scales are multiples of 1 / STEPS
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}  # interpolation by number of space axes


class Config(PartConfig):
    """Scaling of 1 to 3 space axes; rotation by right angles of 2."""

    usual_weights: ClassVar = {"equivariance": 0.25}

    share: float = Field(0.5, gt=0, le=1, description="part of every batch whose latents are also decoded transformed")
    lowest: float = Field(0.25, gt=0, le=1, description="smallest scale; 1: no scaling")
    rotate: bool = Field(True, description="rotate by right angles, where there are 2 space axes")

    def build(self, spec: LatentSpec) -> Regulariser:
        """Raises UsageError for a latent without space axes."""
        if len(spec.shape) == 1:
            raise UsageError("regulariser=eq wants latents with space axes; use network=conv, or leave it out")
        return Equivariance(self)


class Equivariance(Regulariser):
    """Term `equivariance`: what a transformed picture costs per value under the codec's own likelihood, of shape (B * share,).

    A scale and an angle are drawn for each round of a batch: all its latents must keep one size.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, x: Tensor, z: Tensor, cost: Cost) -> dict[str, Tensor]:
        rows = math.ceil(self.config.share * len(z))
        x, z = x[:rows], z[:rows]  # batches are shuffled
        scale, turns = self._draw(z.dim() - 2)
        stride = x.shape[2] // z.shape[2]
        space = [max(round(scale * side), 1) for side in z.shape[2:]]
        z, x = resized(z, space), resized(x, [stride * side for side in space])
        return {"equivariance": cost(turned(z, turns), turned(x, turns))}

    def _draw(self, axes: int) -> tuple[float, int]:
        """A scale, and a number of right angles."""
        lowest = math.ceil(self.config.lowest * STEPS)
        scale = int(torch.randint(lowest, max(STEPS, lowest + 1), ())) / STEPS
        turns = int(torch.randint(4, ())) if self.config.rotate and axes == 2 else 0
        return scale, turns


def resized(x: Tensor, space: list[int]) -> Tensor:
    """(B, C, *S) -> (B, C, *space), interpolated linearly along every axis."""
    if list(x.shape[2:]) == space:
        return x
    return F.interpolate(x, space, mode=LINEAR[len(space)], align_corners=False)


def turned(x: Tensor, turns: int) -> Tensor:
    """(B, C, H, W) turned by so many right angles; other numbers of axes only with 0 of them."""
    return x.rot90(turns, (2, 3)) if turns else x
