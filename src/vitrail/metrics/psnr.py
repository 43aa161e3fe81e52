"""Peak signal-to-noise ratio."""

from __future__ import annotations

from torch import Tensor

from vitrail.metrics._pair import check_pair


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, one value per sample; infinite where both are equal.

    x, y: (B, C, *S) in [0, 1].   Returns (B,) float64.   Raises UsageError on unlike shapes.
    A set's figure is the mean of its samples' dB, not the dB of the mean error.
    """
    check_pair(x, y)
    squared_error = (x.double() - y.double()).square().flatten(1).mean(1)
    return -10 * squared_error.log10()
