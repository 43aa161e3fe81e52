"""Variational autoencoder with convolutions: a Gaussian posterior, and a decoder that learns its own variance.

    vitrail train vae --data fashion-mnist --out runs/vae --budget 6min

Expected after one minute on two CPU cores (benchmarks/recipes.py): 24.2 dB, Frechet distance 4.1 of samples.
Papers: Kingma & Welling 2014; learned variance: Rybkin et al. 2021 ("sigma-VAE"); the mixture fitted to the latents afterwards:
Ghosh et al. 2020.
Reading order: bottlenecks/gaussian.py, objectives/reconstruction/gaussian.py, codecs/codec.py, priors/mixture.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import gaussian as posterior
from vitrail.model.recipe import Recipe, Stage, Training
from vitrail.networks.autoencoder import conv
from vitrail.objectives.reconstruction import gaussian as likelihood
from vitrail.priors import mixture


def recipe() -> Recipe:
    """28x28 pictures become 7x7x4 means and variances; both terms of the loss are nats per value, so it is the ELBO."""
    return Recipe(
        name="vae",
        network=conv.Config(blocks=1),
        bottleneck=posterior.Config(channels=4),
        reconstruction=likelihood.Config(variance="shared"),
        prior=mixture.Config(),
        training=Training(budget="10 epochs", codec=Stage(batch=128, lr=1e-3)),
    )
