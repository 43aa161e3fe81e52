"""Quantum autoencoder: a circuit that turns what states have in common into zeros, which need not be kept.

    vitrail train quantum-autoencoder --data digits --out runs/quantum-autoencoder --budget 60s

A picture is a state whose amplitudes are its pixels; of 6 qubits (8x8) or 8 (16x16, `--set data.size=16`) three are kept. The codec
is a circuit and nothing else. What it keeps of states that can be compressed is measured by benchmarks/quantum_autoencoder.py.
Paper: Romero, Olson & Aspuru-Guzik 2017, "Quantum autoencoders for efficient compression of quantum data".
Reading order: networks/autoencoder/quantum_state.py, networks/quantum/circuit.py, bottlenecks/trash.py, codecs/codec.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import trash
from vitrail.model.recipe import Recipe, Stage, Training
from vitrail.networks.autoencoder import quantum_state
from vitrail.networks.quantum.circuit import Circuit
from vitrail.objectives.reconstruction import mse
from vitrail.priors import mixture


def recipe() -> Recipe:
    """8 amplitudes are kept. The cost is the trash alone; the squared error, the same times a length, is only told."""
    return Recipe(
        name="quantum-autoencoder",
        network=quantum_state.Config(circuit=Circuit(layers=24, embedding="amplitude", rotations="ry", gate="cnot")),
        bottleneck=trash.Config(channels=8),
        reconstruction=mse.Config(),
        prior=mixture.Config(),
        weights={"reconstruction": 0.0, "trash": 1.0},
        training=Training(budget="20 epochs", codec=Stage(batch=64, lr=3e-2)),
    )
