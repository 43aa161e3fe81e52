"""Equivariance: zero where decoding commutes with the transformations, and lower where it was trained for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.data.dataset import open_parts
from vitrail.errors import UsageError
from vitrail.model.build import check
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe, override
from vitrail.objectives.regularisers.eq import Config, Equivariance, resized, turned
from vitrail.training import run
from vitrail.types import DataSpec, LatentSpec


def build(spec: LatentSpec | None = None, **settings: Any) -> Equivariance:
    made = Config(**settings).build(spec or LatentSpec((4, 8, 8)))
    assert isinstance(made, Equivariance)
    return made


def difference(z: Tensor, x: Tensor) -> Tensor:
    """The cost under a decoder that leaves the latent as it is."""
    assert z.shape == x.shape
    return (z - x).square().flatten(1).mean(1)


@pytest.mark.parametrize("space", [(12,), (12, 12), (12, 8), (6, 12, 4)])
def test_a_decoder_that_commutes_pays_nothing(space: tuple[int, ...]) -> None:
    regulariser, x = build(LatentSpec((3, *space))), torch.rand(6, 3, *space)
    for seed in range(20):
        torch.manual_seed(seed)
        assert torch.equal(regulariser(x, x, difference)["equivariance"], torch.zeros(3))


def test_a_decoder_that_knows_places_pays() -> None:
    regulariser, x = build(), torch.rand(4, 3, 8, 8)
    tint = torch.linspace(0, 1, 8)  # brighter to the right, whatever is decoded
    z = x - tint
    torch.manual_seed(1)
    assert regulariser(x, z, lambda z, x: difference(z + tint[: z.shape[3]], x))["equivariance"].min() > 0


def test_picture_and_latent_are_transformed_alike() -> None:
    """Sizes keep the stride; every angle and about every scale occurs, none below the lowest."""
    regulariser, seen = build(share=0.25), set()
    x, z = torch.rand(8, 3, 96, 128), torch.rand(8, 4, 24, 32)

    def look(small: Tensor, large: Tensor) -> Tensor:
        assert [side * 4 for side in small.shape[2:]] == list(large.shape[2:])
        assert len(small) == len(large) == 2
        seen.add((max(small.shape[2:]), small.shape[2] < small.shape[3]))
        return large.mean((1, 2, 3))

    torch.manual_seed(0)
    for _ in range(300):
        regulariser(x, z, look)
    assert {side for side, _ in seen} == set(range(8, 32))
    assert {lying for _, lying in seen} == {True, False}


def test_the_draw_comes_from_the_step_s_generator() -> None:
    regulariser, x = build(), torch.rand(4, 3, 32, 32)
    costs = []
    for seed in (*range(10), *range(10)):
        torch.manual_seed(seed)
        costs.append(float(regulariser(x, x.flip(3), difference)["equivariance"].sum()))
    assert costs[:10] == costs[10:]
    assert len(set(costs)) > 5


def test_without_scaling_and_rotation_it_is_the_reconstruction() -> None:
    x, z = torch.rand(2, 4, 3, 8, 8)
    found = build(share=1.0, lowest=1.0, rotate=False)(x, z, difference)["equivariance"]
    assert torch.equal(found, difference(z, x))


def test_the_gradient_reaches_the_latent() -> None:
    z = torch.rand(4, 3, 8, 8, requires_grad=True)
    build()(torch.rand(4, 3, 8, 8), z, difference)["equivariance"].mean().backward()
    assert z.grad is not None
    assert (z.grad[:2] != 0).any()
    assert (z.grad[2:] == 0).all()


def test_a_vector_has_nothing_to_turn() -> None:
    recipe: Recipe = catalog.find("recipes", "vae-dense").recipe()
    with pytest.raises(UsageError, match="regulariser=eq wants latents with space axes"):
        check(override(recipe, {"regulariser": "eq"}), DataSpec(shape=(1, 8, 8)))


def test_it_comes_with_its_weight() -> None:
    recipe: Recipe = catalog.find("recipes", "vqvae").recipe()
    made = override(recipe, {"regulariser": "eq"})
    assert made.weights == {**recipe.weights, **Config.usual_weights}
    assert override(made, {"regulariser": None}) == recipe


BRIEF = {
    "network.widths": [16, 16],
    "network.blocks": 1,
    "prior": None,
    "training.steps": 100,
    "training.precision": "fp32",
    "training.threads": 1,
    "training.codec.batch": 32,
    "training.preview": 1e9,
    "data.workers": 0,
}


@pytest.mark.parametrize("name", ["autoencoder", "vqvae"])
def test_training_with_it_makes_the_codec_more_equivariant(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    x = open_parts("digits", catalog.find("recipes", name).recipe().data)[1].images(range(64)).float() / 255
    errors = {}
    for regulariser in ("eq", None):
        recipe = override(catalog.find("recipes", name).recipe(), {**BRIEF, "regulariser": regulariser})
        made = run.train(recipe, "digits", tmp_path_factory.mktemp(name) / "run")
        errors[regulariser] = equivariance_error(made, x)
    assert errors["eq"] < 0.7 * errors[None]


@torch.no_grad()
def equivariance_error(model: Model, x: Tensor) -> float:
    """Mean squared error over the right angles, full size and half."""
    z, costs = model.codec.squeeze(x).z, []
    for turns in (1, 2, 3):
        for small in (1, 2):
            target = turned(resized(x, [side // small for side in x.shape[2:]]), turns)
            latent = turned(resized(z, [side // small for side in z.shape[2:]]), turns)
            costs.append((model.codec.likelihood.mean(model.codec.decoder(latent)) - target).square().mean())
    return float(torch.stack(costs).mean())
