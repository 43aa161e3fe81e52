"""WGAN: a GAN whose discriminator is a critic with a bounded slope, so that its loss measures how far samples are from data.

    vitrail train wgan --data fashion-mnist --out runs/wgan --budget 10min

Papers: Arjovsky et al. 2017, "Wasserstein GAN"; the penalty: Gulrajani et al. 2017; a faster critic in place of several steps of
it: Heusel et al. 2017.
Reading order: recipes/gan.py, objectives/adversarial/wasserstein.py, training/generator_step.py.
"""

from __future__ import annotations

from vitrail.model.recipe import Descent, Recipe, Stage
from vitrail.objectives.adversarial import wasserstein
from vitrail.recipes import gan


def recipe() -> Recipe:
    """The networks of `gan` in another game."""
    return gan.recipe().vary(
        name="wgan",
        adversarial=wasserstein.Config(begin=0.0, balance="fixed"),
        weights={"gradient_penalty": 10.0},
        training__codec=Stage(batch=64, lr=5e-4, betas=(0.0, 0.99), warmup=0.02, decay="linear", clip=10.0),
        training__discriminator=Descent(lr=1e-3, betas=(0.0, 0.99), warmup=0.02, decay="linear", clip=100.0),
    )
