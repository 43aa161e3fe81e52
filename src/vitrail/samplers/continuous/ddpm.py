"""DDPM: ancestral sampling, each level drawn from its distribution given the one above; one call and order 1.

Between eta 0, which is `euler`, and eta 1 it follows the reverse process with eta^2 of its noise.
Ho et al. 2020, eq. 7: the posterior given the expected data, for any two levels of any path.
"""

from __future__ import annotations

from torch import Tensor

from vitrail.samplers.continuous._solver import Denoise, Levels, Noise, fresh, kept_by_diffusion, steps, towards

ORDER = 1
CALLS = 1


def sample(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise | None = None, *, eta: float = 1.0) -> Tensor:
    """z at the last level; step i draws noise(i)."""
    for i, here, there in steps(levels, noise, eta):
        kept = kept_by_diffusion(here, there, eta)
        z = towards(z, denoise(z, here), here, there, kept) + fresh(there, kept, noise, i, z)
    return z
