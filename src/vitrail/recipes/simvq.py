"""SimVQ: a VQ-VAE whose large codebook is one learnt linear map of fixed points, so that all codes learn whoever wins.

    vitrail train simvq --data fashion-mnist --out runs/simvq --budget 6min

Expected after one minute on two CPU cores, half of it for the codec, before `vqvae` had its present one:
23.8 dB at 0.75 bits per pixel, all codes in use.
Paper: Zhu et al. 2024, "Addressing representation collapse in vector quantized models with one linear layer".
Reading order: bottlenecks/vq.py, bottlenecks/_codebook.py, recipes/vqvae.py for the rest.
"""

from __future__ import annotations

from vitrail.bottlenecks import vq
from vitrail.model.recipe import Recipe
from vitrail.recipes import vqvae


def recipe() -> Recipe:
    """`vqvae` with eight times as many codes: 12 bits each."""
    return vqvae.recipe().vary(name="simvq", bottleneck=vq.Config(size=4096, channels=16, codebook="simvq"))
