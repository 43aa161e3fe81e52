"""Autoencoder: a small latent and nothing else; a Gaussian mixture fitted afterwards makes it a generator.

    vitrail train autoencoder --data fashion-mnist --out runs/autoencoder --budget 3min

Expected after one minute on two CPU cores (benchmarks/recipes.py): 22.9 dB, Frechet distance 4.5 of samples.
Paper: Hinton & Salakhutdinov 2006; the mixture: Ghosh et al. 2020, "From variational to deterministic autoencoders".
Reading order: networks/autoencoder/conv.py, bottlenecks/none.py, codecs/codec.py, priors/mixture.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import none
from vitrail.model.recipe import Recipe, Stage, Training
from vitrail.networks.autoencoder import conv
from vitrail.objectives.reconstruction import mse
from vitrail.priors import mixture


def recipe() -> Recipe:
    """28x28 pictures become 7x7x4 numbers."""
    return Recipe(
        name="autoencoder",
        network=conv.Config(blocks=1),
        bottleneck=none.Config(channels=4),
        reconstruction=mse.Config(),
        prior=mixture.Config(),
        training=Training(budget="10 epochs", codec=Stage(batch=128, lr=1e-3)),
    )
