"""Latent diffusion: an autoencoder makes pictures small, and a flow learns what its latents look like.

    vitrail train latent-diffusion --data fashion-mnist --out runs/latent --budget 10min

Expected on two CPU cores: on Fashion-MNIST, ten minutes (benchmarks/generation.py, before the term for structure), a Frechet
distance of 0.44 with --guidance 1.5, and 97 % of samples recognised with 2; on 20,000 pictures of CIFAR-10, nine minutes
(benchmarks/colour.py), 63 %.
Papers: Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models"; the prior: Liu et al. 2023 and Esser et
al. 2024 (rectified flow).
Reading order: codecs/codec.py, samplers/path.py, priors/_continuous.py, priors/flow.py, networks/denoiser/unet.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import none
from vitrail.model.recipe import Recipe, Stage, Training
from vitrail.networks.autoencoder import conv
from vitrail.networks.denoiser import unet
from vitrail.objectives.perceptual import ssim
from vitrail.objectives.reconstruction import mse
from vitrail.priors import flow
from vitrail.priors._drawing import Settings


def recipe() -> Recipe:
    """28x28 pictures become 7x7x4 numbers, whose mean and spread are measured before the flow learns them."""
    return Recipe(
        name="latent-diffusion",
        network=conv.Config(finest=32, blocks=(0, 1), decoder_blocks=1),
        bottleneck=none.Config(channels=4),
        reconstruction=mse.Config(),
        perceptual=ssim.Config(),
        prior=flow.Config(sampling=Settings(guidance=2.5)),
        denoiser=unet.Config(width=64, multipliers=(1, 2), blocks=1),
        weights={"perceptual": 0.05},
        training=Training(
            budget="40 epochs",
            share=0.25,
            codec=Stage(batch=32, optimiser="muon", lr=3e-3),
            prior=Stage(batch=128, optimiser="muon", lr=3e-3),
        ),
    )
