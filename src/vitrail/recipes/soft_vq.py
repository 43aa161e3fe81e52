"""Soft VQ-VAE: a VQ-VAE whose codes harden while it trains, so that its gradient is a true one at first.

    vitrail train soft-vq --data fashion-mnist --out runs/soft-vq --budget 6min

Expected after one minute on two CPU cores, half of it for the codec, before `vqvae` had its present one:
22.9 dB at 0.56 bits per pixel, all codes in use.
Papers: Agustsson et al. 2017, "Soft-to-hard vector quantization for end-to-end learning compressible representations";
Mentzer et al. 2018, "Conditional probability models for deep image compression", for the hard last part.
Reading order: bottlenecks/soft.py, bottlenecks/_weighing.py, recipes/vqvae.py for the rest.
"""

from __future__ import annotations

from vitrail.bottlenecks import soft
from vitrail.model.recipe import Recipe
from vitrail.recipes import vqvae


def recipe() -> Recipe:
    """`vqvae` with a decoder that reads mixtures of codes in the first half of its training."""
    return vqvae.recipe().vary(name="soft-vq", bottleneck=soft.Config(size=512, channels=16))
