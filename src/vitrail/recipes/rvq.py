"""Residual VQ-VAE: four codes a point, each for what those before it left unsaid; many bits from small codebooks.

    vitrail train rvq --data fashion-mnist --out runs/rvq --budget 6min
    vitrail train rvq --data fashion-mnist --out runs/any-rate --set bottleneck.dropout=0.5

The second trains the decoder on the first one, two or three levels alone as well, so that any number of them can be decoded.
Expected after one minute on two CPU cores, half of it for the codec, before `vqvae` had its present one:
27.0 dB at 2 bits per pixel, all codes in use.
Papers: Zeghidour et al. 2021, "SoundStream"; dropped levels: Kumar et al. 2023, "High-fidelity audio compression with improved
RVQGAN".
Reading order: recipes/vqvae.py, bottlenecks/rvq.py, codecs/codec.py, priors/autoregressive.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import rvq
from vitrail.model.recipe import Recipe
from vitrail.recipes import vqvae


def recipe() -> Recipe:
    """28x28 pictures become 7x7 points of 4 codes of 8 bits, 2 bits per pixel; larger ones up to 16x16 points.

    The prior has half the width of that of vqvae, since it reads four times as many codes.
    """
    bottleneck = rvq.Config(size=256, channels=16, levels=4)
    return vqvae.recipe().vary(name="rvq", bottleneck=bottleneck, prior__width=128)
