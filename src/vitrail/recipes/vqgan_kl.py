"""VQGAN with a continuous latent: the autoencoder of latent diffusion, pulled towards a normal distribution ever so slightly.

    vitrail train vqgan-kl --data photos/ --out runs/photos --budget 30min

Paper: Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models", section 3.1 and appendix G.
Reading order: recipes/vqgan.py, bottlenecks/gaussian.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import gaussian
from vitrail.model.recipe import Recipe, Stage
from vitrail.priors import mixture
from vitrail.recipes import vqgan


def recipe() -> Recipe:
    """28x28 pictures become 7x7x4 means and variances; the mixture stands where a diffusion prior will."""
    before = vqgan.recipe()
    weights = {name: weight for name, weight in before.weights.items() if name != "commitment"}
    return before.vary(
        name="vqgan-kl",
        bottleneck=gaussian.Config(channels=4),
        prior=mixture.Config(),
        weights={**weights, "kl": 1e-5},
        training__budget="10 epochs",
        training__prior=Stage(),
    )
