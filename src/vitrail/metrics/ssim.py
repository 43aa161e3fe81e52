"""Structural similarity."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from vitrail.metrics._pair import check_pair

WINDOW, SIGMA = 11, 1.5  # pixels; Wang 2004, section III.B
C1, C2 = 0.01**2, 0.03**2  # the constants (K1 L)^2 and (K2 L)^2 for values in [0, 1]


def ssim(x: Tensor, y: Tensor, border: Literal["cut", "reflect"] = "cut") -> Tensor:
    """Mean structural similarity over channels and positions, one value in [-1, 1] per sample.

    x, y: (B, C, *S) in [0, 1] with 1 to 3 space axes.   Returns (B,) float64.   Raises UsageError on unlike shapes.
    border: "cut" averages the positions where the whole window lies inside, as Wang and scikit-image do; "reflect"
    continues the picture by reflection and averages all positions, as torchmetrics does. The two differ by some 0.005.
    Where the shortest side is below 11 the window is the largest odd number that fits, with the same sigma: such
    figures compare only among pictures of one size.
    Source: Wang, Bovik, Sheikh, Simoncelli 2004, eq. 13, with population (not sample) variances.
    """
    check_pair(x, y, space=1)
    x, y = x.double(), y.double()  # E[x^2] - E[x]^2 cancels badly in single precision
    window = gaussian_window(min(x.shape[2:]))
    if border == "reflect":
        x, y = (pad(picture, [len(window) // 2] * 2 * (x.ndim - 2), mode="reflect") for picture in (x, y))
    mean_x, mean_y = local_mean(x, window), local_mean(y, window)
    var_x = local_mean(x * x, window) - mean_x**2
    var_y = local_mean(y * y, window) - mean_y**2
    covariance = local_mean(x * y, window) - mean_x * mean_y
    brightness = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (var_x + var_y + C2)
    return (brightness * structure).flatten(1).mean(1)


def gaussian_window(side: int) -> Tensor:
    """Weights of one axis, of odd length at most 11 and at most `side`, float64, summing to 1."""
    length = min(WINDOW, side - 1 + side % 2)
    offset = torch.arange(length, dtype=torch.float64) - length // 2
    weight = torch.exp(-0.5 * (offset / SIGMA) ** 2)
    return weight / weight.sum()


def local_mean(x: Tensor, window: Tensor) -> Tensor:
    """Weighted mean around every position that has the whole window around it: each space axis gets shorter."""
    for axis in range(2, x.ndim):
        length = x.shape[axis] - len(window) + 1
        total = torch.zeros_like(x.narrow(axis, 0, length))
        for place, weight in enumerate(window.tolist()):  # faster than conv1d in float64
            total.add_(x.narrow(axis, place, length), alpha=weight)
        x = total
    return x
