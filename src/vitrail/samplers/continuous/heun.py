"""Heun: an Euler step, then the mean of the slopes at both of its ends; two calls and order 2, the last step to data is Euler's.

The correction is weighed so that it stays finite at a signal of 0. On paths that keep the signal it is Heun's method in sigma,
as in Karras et al. 2022, algorithm 1; on straight lines it is Heun's method in their time.
"""

from __future__ import annotations

from torch import Tensor

from vitrail.samplers.continuous._solver import Denoise, Levels, Noise, gain, steps, towards

ORDER = 2
CALLS = 2


def sample(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise | None = None) -> Tensor:
    """z at the last level."""
    for _, here, there in steps(levels):
        x = denoise(z, here)
        z = towards(z, x, here, there)
        if there.noise:
            # gain / 2 would be the mean in the log of sigma; the ratio makes it the mean in the path's own noise.
            weight = gain(here, there) * here.noise / there.noise / 2
            z = (z + weight * (denoise(z, there) - x)).to(z.dtype)
    return z
