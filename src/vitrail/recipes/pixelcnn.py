"""PixelCNN over black-and-white pixels: each drawn from those before it, so that a picture has an exact probability.

    vitrail train pixelcnn --data mnist --out runs/pixelcnn --budget 20min

Grey or coloured pixels: `--set bottleneck.size=16 --set data.binarise=false`.
Paper: van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders".
Reading order: bottlenecks/scalar.py, networks/gated.py, priors/pixelcnn.py.
"""

from __future__ import annotations

from vitrail.bottlenecks import scalar
from vitrail.data.config import DataConfig
from vitrail.model.recipe import Recipe, Stage, Training
from vitrail.networks.autoencoder import identity
from vitrail.objectives.reconstruction import mse
from vitrail.priors import pixelcnn


def recipe() -> Recipe:
    """Every pixel one of two values, by chance where it is grey; no codec is trained."""
    return Recipe(
        name="pixelcnn",
        network=identity.Config(),
        bottleneck=scalar.Config(size=2),
        reconstruction=mse.Config(),
        prior=pixelcnn.Config(width=32, depth=6, kernel=5),
        data=DataConfig(binarise=True),
        training=Training(budget="20 epochs", prior=Stage(batch=32, optimiser="muon", lr=5e-3)),
    )
