"""What is filled in for few samples: all of it for few, none for many, and never what the user has set."""

from __future__ import annotations

import pytest

from vitrail import catalog
from vitrail.model.build import fitted
from vitrail.model.recipe import Recipe, parse
from vitrail.model.regularise import FEW, MANY, regularised, smallness, told
from vitrail.recipes import latent_diffusion, vqvae
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 28, 28))


def test_smallness_falls_from_few_to_many() -> None:
    values = [smallness(count) for count in (0, 1, FEW, 5_000, MANY, 10**6)]
    assert values[:3] == [1, 1, 1]
    assert values[4:] == [0, 0]
    assert 0.4 < values[3] < 0.5


def test_few_samples_are_augmented_and_the_prior_is_held_back() -> None:
    made = regularised(vqvae.recipe(), 250)
    assert (made.data.augment, made.prior.dropout, made.training.prior.weight_decay) == (1.0, 0.1, 0.1)
    assert made.training.codec.weight_decay == 0
    flow = regularised(fitted(latent_diffusion.recipe(), SPEC), 250)
    assert flow.denoiser is not None
    assert flow.denoiser.dropout == 0.1


def test_many_samples_are_left_as_they_are() -> None:
    made = regularised(vqvae.recipe(), 60_000)
    assert (made.data.augment, made.prior.dropout, made.training.prior.weight_decay) == (0.0, 0.0, 0.01)
    assert not told(vqvae.recipe(), made, 60_000)


def test_what_the_user_set_stays() -> None:
    asked = vqvae.recipe().vary(data__augment=0.3, prior__dropout=0.4, training__prior__weight_decay=0.0)
    made = regularised(asked, 10)
    assert made.data.augment == 0.3
    assert made.prior.dropout == 0.4
    assert made.training.prior.weight_decay == 0
    assert not told(asked, made, 10)


def test_the_line_says_what_was_chosen() -> None:
    line = told(vqvae.recipe(), regularised(vqvae.recipe(), 250), 250)
    assert line.startswith("250 training samples are few, so data.augment=1, prior.dropout=0.1,")
    assert "training.prior.weight_decay=0.1" in line


@pytest.mark.parametrize("name", catalog.names("recipes"))
def test_every_recipe_is_complete_afterwards_and_stays_so(name: str) -> None:
    recipe: Recipe = catalog.find("recipes", name).recipe()
    made = regularised(fitted(recipe, SPEC), 1_000)
    assert made.data.augment == 1
    assert all(getattr(part, "dropout", 0.0) is not None for part in (made.prior, made.denoiser) if part is not None)
    assert regularised(made, 10**6) == made
    assert parse(made.printed()) == made
