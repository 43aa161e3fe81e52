"""VQ-VAE: pictures as a grid of codes, and a transformer that dreams up such grids.

    vitrail train vqvae --data fashion-mnist --out runs/fashion --budget 6min

Expected on two CPU cores without AVX-512 (benchmarks/main_job.py): 25.0 dB at 0.56 bits per pixel, 97 % of class-conditional
samples recognised, after 57,000 and 34,000 pictures; on CIFAR-10, nine minutes (benchmarks/colour.py), 70 % recognised.
Papers: van den Oord et al. 2017, "Neural discrete representation learning"; a term for structure (Wang et al. 2004) halves the
Frechet distance of reconstructions for 0.2 dB; optimised with Muon, which gains 1 dB per epoch here.
Reading order: networks/autoencoder/conv.py, bottlenecks/vq.py, codecs/codec.py, priors/autoregressive.py, training/codec_step.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import vq
from vitrail.model.recipe import Recipe, Stage, Training
from vitrail.networks.autoencoder import conv
from vitrail.objectives.perceptual import ssim
from vitrail.objectives.reconstruction import mse
from vitrail.priors import autoregressive


def recipe() -> Recipe:
    """28x28 pictures become 7x7 codes of 9 bits, 0.56 bits per pixel; larger ones up to 16x16 codes."""
    return Recipe(
        name="vqvae",
        network=conv.Config(finest=32, blocks=(0, 1), decoder_blocks=1),
        bottleneck=vq.Config(size=512, channels=16),
        reconstruction=mse.Config(),
        perceptual=ssim.Config(),
        prior=autoregressive.Config(width=160, depth=4, heads=4, sampling=autoregressive.Settings(guidance=2.5)),
        weights={"commitment": 0.25, "perceptual": 0.05},
        training=Training(
            budget="20 epochs",
            share=0.6,
            codec=Stage(batch=32, optimiser="muon", lr=3e-3, recommended=60_000),
            prior=Stage(batch=64, optimiser="muon", lr=3e-3, recommended=45_000),
        ),
    )
