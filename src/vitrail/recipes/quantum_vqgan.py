"""Quantum VQGAN: a quantum VQ-VAE whose decoder also has to fool a classical discriminator of patches.

    vitrail train quantum-vqgan --data digits --out runs/quantum-vqgan --budget 5min
    vitrail train quantum-vqgan --data digits --out runs/born --set prior=born

The second line dreams up codes with a circuit as well, a Born machine in place of a transformer.
Papers: Esser et al. 2021, "Taming transformers for high-resolution image synthesis"; circuits in place of its codec are our own
construction.
Reading order: recipes/quantum_vqvae.py, recipes/vqgan.py, networks/autoencoder/quantum.py, bottlenecks/vq.py,
networks/discriminator/patch.py, training/codec_step.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import vq
from vitrail.model.recipe import Descent, Recipe, Stage, Training
from vitrail.model.weight import Ramp
from vitrail.networks.autoencoder import quantum
from vitrail.networks.discriminator import patch
from vitrail.networks.quantum.circuit import Circuit
from vitrail.objectives.adversarial import hinge
from vitrail.objectives.reconstruction import mse
from vitrail.priors import autoregressive


def recipe() -> Recipe:
    """Each 4x4 patch becomes one of 64 codes: expectations of six qubits and their pairs, and the nearest code to them."""
    return Recipe(
        name="quantum-vqgan",
        network=quantum.Config(
            circuit=Circuit(qubits=6, layers=4, embedding="modulated", rotations="ry"),
            patch=4,
            reads="pairs",
            decoder_reads="pairs",
        ),
        bottleneck=vq.Config(size=64, channels=8),
        reconstruction=mse.Config(),
        adversarial=hinge.Config(begin=0.4, matching=True),
        discriminator=patch.Config(width=32),
        prior=autoregressive.Config(width=64, depth=2, heads=2),
        weights={
            "commitment": 0.25,
            "adversarial": Ramp(start=0.0, peak=0.3, over=0.4, after=0.45),
            "matching": Ramp(start=0.0, peak=3.0, over=0.4, after=0.45),
        },
        training=Training(
            budget="40 epochs",
            codec=Stage(batch=64, lr=2e-2),
            discriminator=Descent(lr=1e-3, betas=(0.5, 0.9), warmup=0.0),
            prior=Stage(batch=64, optimiser="muon", lr=3e-3),
        ),
    )
