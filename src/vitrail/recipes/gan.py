"""GAN: a generator that makes pictures out of noise, and a discriminator that teaches it by telling them from data.

    vitrail train gan --data fashion-mnist --out runs/gan --budget 10min

Papers: Goodfellow et al. 2014; R1 penalty: Mescheder et al. 2018, "Which training methods for GANs do actually converge?".
Reading order: networks/autoencoder/generator.py, networks/discriminator/residual.py, objectives/adversarial/nonsaturating.py,
training/generator_step.py, training/adversary.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import noise
from vitrail.model.recipe import Descent, Recipe, Stage, Training
from vitrail.networks.autoencoder import generator
from vitrail.networks.discriminator import residual
from vitrail.objectives.adversarial import nonsaturating
from vitrail.objectives.reconstruction import bernoulli
from vitrail.priors import normal


def recipe() -> Recipe:
    """128 numbers of noise become a picture. Only the game is minimised; the reconstruction says how values are bounded."""
    return Recipe(
        name="gan",
        network=generator.Config(),
        bottleneck=noise.Config(channels=128),
        reconstruction=bernoulli.Config(),
        adversarial=nonsaturating.Config(begin=0.0, balance="fixed", r1=True, every=8),
        discriminator=residual.Config(),
        prior=normal.Config(),
        weights={"r1": 1.0},
        training=Training(
            budget="30 epochs",
            codec=Stage(batch=64, lr=1e-3, betas=(0.0, 0.99), warmup=0.02, decay="linear", clip=10.0),
            discriminator=Descent(lr=1e-3, betas=(0.0, 0.99), warmup=0.02, decay="linear", clip=10.0),
        ),
    )
