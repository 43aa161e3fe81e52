"""Beta-VAE: the KL term counts several times, so that few latents stay in use.

    vitrail train beta-vae --data fashion-mnist --out runs/beta --set weights.kl=8
    vitrail train beta-vae --data fashion-mnist --out runs/cycles --set weights.kl.cycles=4

Expected after one minute on two CPU cores (benchmarks/recipes.py): 17.3 dB with beta = 4.
Paper: Higgins et al. 2017, "beta-VAE: learning basic visual concepts with a constrained variational framework".
Reading order: recipes/vae_dense.py, then `vitrail explore` on the result.
"""

from __future__ import annotations

from vitrail.model.recipe import Recipe
from vitrail.recipes import vae_dense


def recipe() -> Recipe:
    """The dense VAE with 10 latents and beta = 4."""
    return vae_dense.recipe().vary(name="beta-vae", bottleneck__channels=10, weights={"kl": 4.0})
