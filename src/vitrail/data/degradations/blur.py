"""Gaussian blur of a random width."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vitrail.data.degradations import Degradation
from vitrail.data.degradations._range import Range
from vitrail.types import Config as PartConfig

REACH = 3.0  # standard deviations after which the kernel is cut off
SHARP = 1e-3  # pixels; a Gaussian this narrow is a single tap


class Config(PartConfig):
    """Width of the blur."""

    sigma: Range = Field((0.5, 2.0), description="standard deviation in pixels, drawn evenly from this range; 0: sharp")

    def build(self) -> Degradation:
        return partial(blurred, sigma=self.sigma)


def blurred(x: Tensor, rngs: Sequence[np.random.Generator], sigma: tuple[float, float]) -> Tensor:
    """Each sample of (B, C, *S) under its own Gaussian, one axis after the other, edges repeated."""
    reach = round(REACH * sigma[1] + 0.5)
    kernels = [kernel(float(rng.uniform(*sigma)), reach) for rng in rngs]
    weights = torch.stack(kernels, dim=1).to(x).view(2 * reach + 1, -1, *[1] * (x.ndim - 1))  # (taps, B, 1, ...)
    for axis in range(2, x.ndim):
        x = _along(x, weights, axis)
    return x.clamp(0, 1)


def kernel(sigma: float, reach: int) -> Tensor:
    """(taps,) weights from -reach to reach, summing to 1."""
    offset = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offset / max(sigma, SHARP)) ** 2)
    return weights / weights.sum()


def _along(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Tap by tap, because a convolution's rounding may depend on the batch."""
    reach, size = len(weights) // 2, x.shape[axis]
    places = torch.arange(size, device=x.device)
    result = torch.zeros_like(x)
    for offset, weight in zip(range(-reach, reach + 1), weights, strict=True):
        result += weight * x.index_select(axis, (places + offset).clamp(0, size - 1))
    return result
