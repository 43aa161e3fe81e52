"""Denoising diffusion in the space of the pictures themselves, along the cosine path, predicting v.

    vitrail train diffusion --data photos/ --out runs/photos --budget 2h

Papers: Ho et al. 2020, "Denoising diffusion probabilistic models"; path: Nichol & Dhariwal 2021; v: Salimans & Ho 2022;
weights: Hang et al. 2023 (min-SNR).
Reading order: networks/autoencoder/identity.py, samplers/path.py, priors/_prediction.py, priors/_continuous.py,
priors/diffusion.py, networks/denoiser/unet.py, samplers/continuous/dpmpp_2m.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import identity as as_it_is
from vitrail.model.recipe import Recipe, Stage, Training
from vitrail.networks.autoencoder import identity
from vitrail.networks.denoiser import unet
from vitrail.objectives.reconstruction import mse
from vitrail.priors import diffusion


def recipe() -> Recipe:
    """A U-Net over pixels; no codec is trained."""
    return Recipe(
        name="diffusion",
        network=identity.Config(),
        bottleneck=as_it_is.Config(),
        reconstruction=mse.Config(),
        prior=diffusion.Config(path="cosine", predicts="v", weighting="min-snr"),
        denoiser=unet.Config(width=64),
        training=Training(budget="50 epochs", prior=Stage(batch=128, lr=5e-4)),
    )
