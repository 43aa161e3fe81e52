"""Quantum VAE: a circuit tells mean and variance of a latent vector, and another one decodes what is drawn from them.

    vitrail train quantum-vae --data digits --out runs/quantum-vae --budget 60s

Linear maps bring pixels to the circuit's angles, measured bits to mean and log-variance, and back: most weights are theirs.
Papers: Kingma & Welling 2014; circuits between linear maps: Mari et al. 2020, "Transfer learning in hybrid classical-quantum neural
networks"; learned variance: Rybkin et al. 2021.
Reading order: networks/autoencoder/quantum.py, networks/quantum/circuit.py, bottlenecks/gaussian.py, recipes/vae.py for the rest.
"""

from __future__ import annotations

from vitrail.bottlenecks import gaussian as posterior
from vitrail.model.recipe import Recipe, Stage, Training
from vitrail.networks.autoencoder import quantum
from vitrail.networks.quantum.circuit import Circuit
from vitrail.objectives.reconstruction import gaussian as likelihood
from vitrail.priors import mixture


def recipe() -> Recipe:
    """A picture becomes 8 means and variances. Eight qubits each way, all pairs of which are measured."""
    return Recipe(
        name="quantum-vae",
        network=quantum.Config(
            circuit=Circuit(qubits=8, layers=3, embedding="modulated", rotations="ry"),
            reads="pairs",
            decoder_reads="pairs",
        ),
        bottleneck=posterior.Config(channels=8),
        reconstruction=likelihood.Config(variance="shared"),
        prior=mixture.Config(),
        training=Training(budget="20 epochs", codec=Stage(batch=64, lr=1.5e-2)),
    )
