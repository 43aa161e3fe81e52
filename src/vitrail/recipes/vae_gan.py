"""VAE-GAN: a variational autoencoder judged by a discriminator too, both its reconstructions and what it makes of noise.

    vitrail train vae-gan --data fashion-mnist --out runs/vae-gan --budget 6min

Paper: Larsen et al. 2016, "Autoencoding beyond pixels using a learned similarity metric"; here beside the pixels.
Reading order: recipes/vae.py, objectives/adversarial/_adversarial.py (`matching`), training/codec_step.py (dreams).
"""

from __future__ import annotations

from vitrail.bottlenecks import gaussian
from vitrail.model.recipe import Descent, Recipe, Stage, Training
from vitrail.model.weight import Ramp
from vitrail.networks.autoencoder import conv
from vitrail.networks.discriminator import residual
from vitrail.objectives.adversarial import nonsaturating
from vitrail.objectives.reconstruction import mse
from vitrail.priors import normal


def recipe() -> Recipe:
    """28x28 pictures become 2x2x32 means and variances, few enough points for N(0, 1) itself to be sampled from."""
    return Recipe(
        name="vae-gan",
        network=conv.Config(widths=(64, 128, 128, 128), blocks=1),
        bottleneck=gaussian.Config(channels=32),
        reconstruction=mse.Config(),
        adversarial=nonsaturating.Config(begin=0.05, balance="fixed", dreams=True, matching=True, r1=True, every=8),
        discriminator=residual.Config(),
        prior=normal.Config(),
        weights={
            "kl": 0.02,
            "adversarial": Ramp(start=0.0, peak=0.03, over=0.1, after=0.1),
            "matching": 0.03,
            "r1": 1.0,
        },
        training=Training(
            budget="20 epochs",
            codec=Stage(batch=64, lr=1e-3),
            discriminator=Descent(lr=1e-3, betas=(0.0, 0.99), clip=10.0),
        ),
    )
