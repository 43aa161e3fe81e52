"""VQGAN with a continuous latent: the autoencoder of latent diffusion, pulled towards a normal distribution ever so slightly.

    vitrail train vqgan-kl --data photos/ --out runs/photos --budget 30min

Paper: Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", section 3.1 and appendix G.
Reading order: recipes/vqgan.py, bottlenecks/gaussian.py, recipes/latent_diffusion.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import gaussian
from vitrail.model.recipe import Recipe
from vitrail.recipes import latent_diffusion, vqgan


def recipe() -> Recipe:
    """28x28 pictures become 7x7x4 means and variances, which the prior of `latent-diffusion` learns."""
    before, other = vqgan.recipe(), latent_diffusion.recipe()
    weights = {name: weight for name, weight in before.weights.items() if name != "commitment"}
    return before.vary(
        name="vqgan-kl",
        bottleneck=gaussian.Config(channels=4),
        prior=other.prior,
        denoiser=other.denoiser,
        weights={**weights, "kl": 1e-5},
        training__prior=other.training.prior,
    )
