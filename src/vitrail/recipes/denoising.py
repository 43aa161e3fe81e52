"""Denoising autoencoder: the encoder sees a spoilt picture, the decoder is asked for the clean one.

    vitrail train denoising --data fashion-mnist --out runs/denoising --budget 3min
    vitrail train denoising --data photos/ --out runs/unblur --set degradation=blur

Expected after one minute on two CPU cores (benchmarks/recipes.py): 22.5 dB, Frechet distance 9.2 of samples.
Any file of data/degradations serves: noise, mask, downscale, blur, jpeg.
Paper: Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders".
Reading order: recipes/autoencoder.py, data/degradations/noise.py, training/codec_step.py.
"""

from __future__ import annotations

from vitrail.data.degradations import noise
from vitrail.model.recipe import Recipe
from vitrail.recipes import autoencoder


def recipe() -> Recipe:
    """The autoencoder, with noise of a standard deviation between 0.1 and 0.3 on its input and a wider latent."""
    return autoencoder.recipe().vary(name="denoising", degradation=noise.Config(), bottleneck__channels=16)
