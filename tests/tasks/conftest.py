"""Tiny untrained models: what tasks do with a model does not depend on how good it is."""

from __future__ import annotations

import pytest

from vitrail import catalog
from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_dataset
from vitrail.model.model import Model
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 8, 8), classes=tuple("0123456789"))


@pytest.fixture(scope="session")
def discrete() -> Model:
    recipe = catalog.find("recipes", "vqvae").recipe()
    small = {
        "bottleneck__size": 16,
        "bottleneck__channels": 4,
        "prior__width": 16,
        "prior__depth": 1,
        "prior__heads": 2,
    }
    return Model.build(recipe.vary(network__widths=(8, 16), **small), SPEC)


@pytest.fixture(scope="session")
def conditional(discrete: Model) -> Model:
    """One whose prior wants a coarse picture to start from."""
    recipe = discrete.recipe.vary(condition="downscale")
    return Model.build(recipe, SPEC)


@pytest.fixture(scope="session")
def vector() -> Model:
    """One latent vector, a fixed normal prior, one size of pictures."""
    recipe = catalog.find("recipes", "vae-dense").recipe()
    return Model.build(recipe.vary(bottleneck__channels=6), SPEC)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return open_dataset("digits", DataConfig(), "heldout")
