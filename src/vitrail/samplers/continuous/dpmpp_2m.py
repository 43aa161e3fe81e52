"""DPM-Solver++(2M): the data at the middle of a step, foretold from the last two calls; one call and order 2.

The first step has no call before it and is of order 1, as is one to a noise of 0, or the two from a signal of 0.
Lu et al. 2022, DPM-Solver++, algorithm 2.
"""

from __future__ import annotations

import math

from torch import Tensor

from vitrail.samplers.continuous._solver import Denoise, Levels, Noise, span, steps, towards

ORDER = 2
CALLS = 1


def sample(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise | None = None) -> Tensor:
    """z at the last level."""
    before, h_before = None, math.inf
    for _, here, there in steps(levels):
        x, h = denoise(z, here), span(here, there)
        z = towards(z, foretold(x, before, h, h_before), here, there)
        before, h_before = x, h
    return z


def foretold(x: Tensor, before: Tensor | None, h: float, h_before: float) -> Tensor:
    """The data in the middle of a step of length h, on the line through the last two calls; x where there is no such line."""
    ahead = 0.0 if math.isinf(h) else h / (2 * h_before)
    return x if before is None or not ahead else x + ahead * (x - before)
