"""Guidance: away from what a lesser model expects, towards what the model expects."""

from __future__ import annotations

import math

from torch import Tensor

from vitrail.errors import UsageError
from vitrail.samplers.continuous._solver import Denoise
from vitrail.samplers.path import Level


def guided(
    denoise: Denoise, reference: Denoise, scale: float, interval: tuple[float, float] = (0.0, math.inf)
) -> Denoise:
    """reference + scale (denoise - reference) where sigma lies in the interval, `denoise` alone, with one call, elsewhere.

    reference: the same net without the label (Ho & Salimans 2022), or a smaller or earlier one (autoguidance, Karras et al. 2024).
    interval: (lowest, highest] sigma; guidance helps in the middle and harms at high noise.  Kynkaanniemi et al. 2024.
    Raises UsageError on an empty interval or a scale below 0.
    """
    lowest, highest = interval
    if not 0 <= lowest < highest:
        raise UsageError(f"an interval of guidance is lowest < highest sigma, got {lowest} and {highest}")
    if not 0 <= scale < math.inf:
        raise UsageError(f"the scale of guidance is at least 0 (1: none), got {scale}")

    def pushed(z: Tensor, level: Level) -> Tensor:
        x = denoise(z, level)
        if scale == 1 or not lowest < level.sigma <= highest:
            return x
        weak = reference(z, level)
        return weak + scale * (x - weak)

    return pushed
