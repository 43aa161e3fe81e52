"""MaskGIT: the codes of a VQ-VAE, drawn many at a time in a dozen steps.

    vitrail train maskgit --data fashion-mnist --out runs/maskgit --budget 6min

After minutes of training the order of the paper, by confidence, draws nearer to the data than `--sampling order=halton`.
Papers: Chang et al. 2022, "MaskGIT: masked generative image transformer"; Halton: Besnier et al. 2025.
Reading order: recipes/vqvae.py, priors/masked.py, samplers/discrete/masked.py.
"""

from __future__ import annotations

from vitrail.model.recipe import Recipe
from vitrail.priors import masked
from vitrail.recipes import vqvae


def recipe() -> Recipe:
    """The codec of `vqvae`; its codes may also be filled in around those that are known."""
    sampling = masked.Settings(order="confidence", guidance=2.0)
    return vqvae.recipe().vary(
        name="maskgit", prior=masked.Config(width=256, depth=4, heads=4, loss="maskgit", sampling=sampling)
    )
