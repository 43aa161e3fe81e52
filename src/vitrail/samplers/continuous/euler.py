"""Euler: straight to where the expected data lies; the plain solver, one call and order 1.

It is the deterministic DDIM in closed form, so its steps are exact wherever the expected data does not change.
Song et al. 2021 (DDIM), eq. 13; Karras et al. 2022.
"""

from __future__ import annotations

from torch import Tensor

from vitrail.samplers.continuous._solver import Denoise, Levels, Noise, steps, towards

ORDER = 1
CALLS = 1


def sample(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise | None = None) -> Tensor:
    """z at the last level."""
    for _, here, there in steps(levels):
        z = towards(z, denoise(z, here), here, there)
    return z
