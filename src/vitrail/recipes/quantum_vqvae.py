"""Quantum VQ-VAE: patches become bit strings of six qubits, as measured, and each bit string stands for a patch.

    vitrail train quantum-vqvae --data digits --out runs/quantum-vqvae --budget 60s
    vitrail train quantum-vqvae --data digits --out runs/vq --set network.reads=pairs --set bottleneck.size=64 --set bottleneck=vq

Training minimises the exact mean over all bit strings, as a simulator can; `--set bottleneck.training=straight-through` draws one,
as a device would. The second line is the other variant: expectations of qubits and of their pairs, linearly mapped to where the
nearest code of a classical codebook is looked for.
Paper: van den Oord et al. 2017, "Neural discrete representation learning"; codes as measured bit strings are our own construction.
Reading order: networks/autoencoder/quantum.py, networks/quantum/circuit.py, bottlenecks/born.py, codecs/codec.py,
priors/autoregressive.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import born
from vitrail.model.recipe import Recipe, Stage, Training
from vitrail.networks.autoencoder import quantum
from vitrail.networks.quantum.circuit import Circuit
from vitrail.objectives.reconstruction import mse
from vitrail.priors import autoregressive


def recipe() -> Recipe:
    """Each 4x4 patch becomes one of 64 codes, 0.375 bits per pixel; a code is a patch."""
    return Recipe(
        name="quantum-vqvae",
        network=quantum.Config(
            circuit=Circuit(qubits=6, layers=6, embedding="modulated", rotations="ry"),
            patch=4,
            reads="probabilities",
            decoding="patches",
        ),
        bottleneck=born.Config(channels=16),
        reconstruction=mse.Config(),
        prior=autoregressive.Config(width=64, depth=2, heads=2),
        weights={"variance": 0.25, "evenness": 0.05, "doubt": 0.0},
        training=Training(
            budget="40 epochs",
            codec=Stage(batch=64, lr=3e-2),
            prior=Stage(batch=64, optimiser="muon", lr=3e-3),
        ),
    )
