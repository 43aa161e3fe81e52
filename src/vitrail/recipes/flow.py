"""Rectified flow in the space of the pictures themselves: noise is carried to data along straight lines.

    vitrail train flow --data photos/ --out runs/photos --budget 2h

Papers: Liu et al. 2023, "Flow straight and fast"; Lipman et al. 2023, "Flow matching for generative modeling"; levels: Esser et al.
2024.
Reading order: networks/autoencoder/identity.py, samplers/path.py, priors/_prediction.py, priors/_continuous.py, priors/flow.py,
networks/denoiser/unet.py, samplers/continuous/heun.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import identity as as_it_is
from vitrail.model.recipe import Recipe, Stage, Training
from vitrail.networks.autoencoder import identity
from vitrail.networks.denoiser import unet
from vitrail.objectives.reconstruction import mse
from vitrail.priors import flow


def recipe() -> Recipe:
    """A U-Net over pixels, in patches of two by two; no codec is trained."""
    return Recipe(
        name="flow",
        network=identity.Config(),
        bottleneck=as_it_is.Config(),
        reconstruction=mse.Config(),
        prior=flow.Config(),
        denoiser=unet.Config(width=64, patch=2),
        training=Training(budget="50 epochs", prior=Stage(batch=128, lr=1e-3)),
    )
