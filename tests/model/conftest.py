"""Small models whose weights all do something, and which know three classes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vitrail import catalog
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe
from vitrail.types import DataSpec

SMALL: dict[str, Any] = {"network.widths": [8, 8], "training.seed": 3}
PARTS: dict[str, dict[str, Any]] = {
    "vqvae": {"bottleneck.size": 16, "bottleneck.channels": 4, "prior.width": 16, "prior.depth": 2, "prior.heads": 2},
    "vae": {"prior.components": 3},
}


def _recipe(name: str) -> Recipe:
    from vitrail.model.recipe import override

    return override(catalog.find("recipes", name).recipe(), {**SMALL, **PARTS.get(name, {})})


def _model(name: str = "vqvae", shape: tuple[int, ...] = (1, 8, 8)) -> Model:
    model = Model.build(_recipe(name), DataSpec(shape=shape, classes=("ant", "bee", "cat")))
    generator = torch.Generator().manual_seed(1)
    for part in (model.codec, model.prior):
        assert part is not None
        for weight in part.parameters():
            weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    if model.prior is not None and model.prior.fits:
        z = torch.randn(50, *model.prior.spec.shape, generator=generator)
        model.prior.fit(z, torch.arange(50) % 3, seed=0)
    return model


@pytest.fixture(scope="session")
def small_recipe() -> Callable[[str], Recipe]:
    """`small_recipe("vae")`: a recipe that builds in no time."""
    return _recipe


@pytest.fixture(scope="session")
def small_model() -> Callable[..., Model]:
    """`small_model("vae", shape=(3, 8, 8))`: a fresh model of a recipe."""
    return _model
