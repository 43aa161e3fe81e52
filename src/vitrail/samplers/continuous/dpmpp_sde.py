"""SDE-DPM-Solver++(2S): the reverse process with noise, by the midpoint rule; two calls and order 2.

Both noises of a step are parts of one path of the noise, without which the order would be 1. eta 0 is DPM-Solver++(2S).
Lu et al. 2022, DPM-Solver++, algorithm 1 and section 5.
"""

from __future__ import annotations

import math

from torch import Tensor

from vitrail.samplers.continuous._solver import Denoise, Levels, Noise, fresh, kept_by_diffusion, span, steps, towards
from vitrail.samplers.path import Level

ORDER = 2
CALLS = 2


def sample(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise | None = None, *, eta: float = 1.0) -> Tensor:
    """z at the last level; step i draws noise(2 i) and noise(2 i + 1)."""
    for i, here, there in steps(levels, noise, eta):
        x = denoise(z, here)
        if math.isinf(span(here, there)):
            kept = kept_by_diffusion(here, there, eta)
            z = towards(z, x, here, there, kept) + fresh(there, kept, noise, 2 * i, z)
            continue
        middle = between(here, there)
        kept = kept_by_diffusion(here, middle, eta)  # in either half
        first = fresh(middle, kept, noise, 2 * i, z)
        x = denoise(towards(z, x, here, middle, kept) + first, middle)
        z = towards(z, x, here, there, kept**2)
        z = z + kept * there.noise / middle.noise * first + fresh(there, kept, noise, 2 * i + 1, z)
    return z


def between(here: Level, there: Level) -> Level:
    """The level in the middle, by the log of sigma."""
    return Level(math.sqrt(here.signal * there.signal), math.sqrt(here.noise * there.noise))
