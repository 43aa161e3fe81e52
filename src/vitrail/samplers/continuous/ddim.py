"""DDIM: Euler's step, of which a share of the noise is drawn anew; one call and order 1.

eta 0 is `euler`; eta 1 is the ancestral sampler of DDPM.  Song et al. 2021 (DDIM), eq. 12 and 16.
"""

from __future__ import annotations

import math

from torch import Tensor

from vitrail.samplers.continuous._solver import Denoise, Levels, Noise, fresh, steps, towards
from vitrail.samplers.path import Level

ORDER = 1
CALLS = 1


def sample(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise | None = None, *, eta: float = 0.0) -> Tensor:
    """z at the last level; step i draws noise(i)."""
    for i, here, there in steps(levels, noise, eta):
        kept = _kept(here, there, eta)
        z = towards(z, denoise(z, here), here, there, kept) + fresh(there, kept, noise, i, z)
    return z


def _kept(here: Level, there: Level, eta: float) -> float:
    """Share of the noise's amplitude that stays: of its variance, eta^2 (1 - (sigma' / sigma)^2) is drawn anew."""
    shrinks = there.noise * here.signal / (there.signal * here.noise) if eta else 1.0
    return math.sqrt(1 - eta**2 * (1 - shrinks**2))
