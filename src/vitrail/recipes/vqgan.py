"""VQGAN: a VQ-VAE whose decoder also has to fool a discriminator, so that its pictures are sharp where the codes leave things open.

    vitrail train vqgan --data photos/ --out runs/photos --budget 30min

Paper: Esser et al. 2021, "Taming transformers for high-resolution image synthesis".
Reading order: recipes/vqvae.py, networks/discriminator/patch.py, objectives/adversarial/hinge.py, training/adversary.py,
training/codec_step.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import vq
from vitrail.model.recipe import Descent, Recipe, Stage, Training
from vitrail.model.weight import Ramp
from vitrail.networks.autoencoder import conv
from vitrail.networks.discriminator import patch
from vitrail.objectives.adversarial import hinge
from vitrail.objectives.reconstruction import mse
from vitrail.priors import autoregressive


def recipe() -> Recipe:
    """28x28 pictures become 7x7 codes of 9 bits, 0.56 bits per pixel; larger ones up to 16x16 codes."""
    return Recipe(
        name="vqgan",
        network=conv.Config(blocks=1),
        bottleneck=vq.Config(size=512, channels=16),
        reconstruction=mse.Config(),
        adversarial=hinge.Config(begin=0.4, matching=True),
        discriminator=patch.Config(width=32),
        prior=autoregressive.Config(width=256, depth=4, heads=4, sampling=autoregressive.Settings(guidance=2.0)),
        weights={
            "commitment": 0.25,
            "adversarial": Ramp(start=0.0, peak=0.3, over=0.4, after=0.45),
            "matching": Ramp(start=0.0, peak=3.0, over=0.4, after=0.45),
        },
        training=Training(
            budget="20 epochs",
            codec=Stage(batch=64, optimiser="muon", lr=3e-3),
            discriminator=Descent(lr=1e-3, betas=(0.5, 0.9), warmup=0.0),
            prior=Stage(batch=64, optimiser="muon", lr=3e-3),
        ),
    )
