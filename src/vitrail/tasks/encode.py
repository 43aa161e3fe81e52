"""Latents of pictures: codes where the model is discrete, else values."""

from __future__ import annotations

from vitrail.tasks._parameters import Pictures, Run
from vitrail.types import Latent


def encode(model: Run, x: Pictures) -> Latent:
    """z of mean 0 and variance 1 over the training data, and the codes where there are codes."""
    return model.encode(x)
