"""Quantum GAN: circuits paint the strips of a picture with probabilities of their bit strings, against a classical discriminator.

    vitrail train quantum-gan --data classes/ --out runs/quantum-gan --budget 2min
    vitrail train quantum-gan --data classes/ --out runs/huang --set network.noise=angles --set network.circuit.embedding=angle

In the first line noise turns the qubits in every layer, by a learned linear map; the second is the generator of the first paper,
where noise turns them once and nothing is classical. `--set adversarial=wasserstein` with `adversarial.begin=0` and
`adversarial.balance=fixed` is the game of the third. Few classes are learnt in minutes: a folder with a subfolder of pictures for
each, 8x8 or 16x16 (`--set data.size=16`).
Papers: Huang et al. 2021, "Experimental quantum generative adversarial networks for image generation"; noise in every layer:
Bravo-Prieto et al. 2022; Wasserstein: Tsang et al. 2023, "Hybrid quantum-classical generative adversarial network for high
resolution image generation"; the game here: Goodfellow et al. 2014, with R1 (Mescheder et al. 2018).
Reading order: networks/autoencoder/quantum_generator.py, networks/quantum/circuit.py, networks/discriminator/residual.py,
recipes/gan.py, training/generator_step.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import noise
from vitrail.model.recipe import Descent, Recipe, Stage, Training
from vitrail.networks.autoencoder import quantum_generator
from vitrail.networks.discriminator import residual
from vitrail.networks.quantum.circuit import Circuit
from vitrail.objectives.adversarial import nonsaturating
from vitrail.objectives.reconstruction import mse
from vitrail.priors import normal


def recipe() -> Recipe:
    """Of 8x8 pixels four circuits of four qubits and an ancilla paint 16 each. Only the game is minimised."""
    return Recipe(
        name="quantum-gan",
        network=quantum_generator.Config(
            circuit=Circuit(qubits=5, layers=6, embedding="modulated", rotations="ry", entangler="linear")
        ),
        bottleneck=noise.Config(channels=8),
        reconstruction=mse.Config(),
        adversarial=nonsaturating.Config(begin=0.0, balance="fixed", r1=True, every=4),
        discriminator=residual.Config(width=16, widest=64),
        prior=normal.Config(),
        weights={"r1": 1.0},
        training=Training(
            budget="100 epochs",
            codec=Stage(batch=64, lr=1e-2, betas=(0.0, 0.99), warmup=0.02, decay="linear", clip=10.0),
            discriminator=Descent(lr=5e-4, betas=(0.0, 0.99), warmup=0.02, decay="linear", clip=10.0),
        ),
    )
