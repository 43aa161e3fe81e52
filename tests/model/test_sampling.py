"""Samples of any size and samples given a degraded picture."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.data.noise import generators
from vitrail.errors import DataError, UsageError
from vitrail.model import folder
from vitrail.model.build import check
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe, override
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 8, 8), classes=("ant", "bee", "cat"))
PARTS: dict[str, Any] = {
    "network.widths": [8, 8],
    "network.blocks": 1,
    "bottleneck.size": 16,
    "bottleneck.channels": 4,
    "prior.width": 16,
    "prior.depth": 1,
    "prior.heads": 2,
}


def recipe(**changes: Any) -> Recipe:
    made: Recipe = catalog.find("recipes", "vqvae").recipe()
    return override(made, {**PARTS, **changes})


def model(**changes: Any) -> Model:
    made = Model.build(recipe(**changes), SPEC)
    assert made.prior is not None
    for weight in made.prior.parameters():
        weight.data += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return made


def pictures(n: int, *space: int) -> Tensor:
    return torch.rand(n, 1, *space, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def windowed() -> Model:
    return model(**{"prior.window": 2})


@pytest.fixture(scope="module")
def conditional() -> Model:
    return model(condition="downscale")


def stride(made: Model) -> int:
    return made.codec.stride * made.codec.bottleneck.factor


@pytest.mark.parametrize("size", [(8, 8), (16, 24), (13, 9), (3, 5), (1, 1)])
def test_a_size_is_drawn_to_the_pixel(size: tuple[int, int], windowed: Model) -> None:
    x = windowed.sample(3, seed=2, size=size)
    assert x.shape == (3, 1, *size)
    codes = windowed.draw(3, seed=2, size=size)
    assert codes.shape[2:] == tuple(-(-side // stride(windowed)) for side in size)
    assert torch.equal(windowed.decode(codes, size), x)
    assert torch.equal(windowed.sample(1, seed=2, first=2, size=size), x[2:])


def test_the_model_s_own_size_changes_nothing(windowed: Model) -> None:
    assert torch.equal(windowed.sample(3, size=(8, 8)), windowed.sample(3))


def test_hierarchical_and_residual_codes_come_in_any_size() -> None:
    for name in ("hierarchical", "rvq"):
        made = model(bottleneck=name)
        x = made.sample(2, size=(20, 12))
        assert x.shape == (2, 1, 20, 12)
        assert made.encode(x).codes.shape == made.draw(2, size=(20, 12)).shape  # type: ignore[union-attr]


def test_normal_latents_come_in_any_size(small_model: Callable[..., Model]) -> None:
    made = Model.build(override(small_model("vae").recipe, {"prior": "normal"}), SPEC)
    assert made.sample(2, size=(20, 12)).shape == (2, 1, 20, 12)
    assert torch.equal(made.sample(2, size=(8, 8)), made.sample(2))


def test_what_cannot_be_drawn_in_any_size_says_so(small_model: Callable[..., Model]) -> None:
    with pytest.raises(UsageError, match="mixture prior knows latents of 2x2 points only"):
        small_model("vae").sample(1, size=(16, 16))
    dense = Model.build(catalog.find("recipes", "vae-dense").recipe(), SPEC)
    assert dense.sample(1, size=(8, 8)).shape == (1, 1, 8, 8)
    with pytest.raises(UsageError, match="pictures of 8x8 only, got 16x16"):
        dense.sample(1, size=(16, 16))


@pytest.mark.parametrize("size", [(8,), (8, 8, 8), (0, 8), (8, -1)])
def test_sizes_that_are_none(size: tuple[int, ...], windowed: Model) -> None:
    with pytest.raises(UsageError, match="2 sides of at least 1"):
        windowed.sample(1, size=size)


def test_variants_of_a_hint(conditional: Model) -> None:
    hint = conditional.hint(pictures(1, 8, 8))
    x = conditional.sample(5, condition=hint, seed=1)
    assert x.shape == (5, 1, 8, 8)
    assert len(x.flatten(1).unique(dim=0)) > 1
    assert torch.equal(conditional.sample(2, condition=hint, seed=1, first=3), x[3:])
    assert torch.equal(conditional.sample(5, condition=hint.expand(5, -1, -1, -1), seed=1), x)
    assert torch.equal(conditional.sample(5, condition=hint, seed=1, label=-1), x)  # any class, unless one is given
    assert not torch.equal(conditional.sample(5, condition=hint, seed=1, label="bee"), x)
    assert not torch.equal(conditional.sample(5, condition=1 - hint, seed=1), x)


def test_each_sample_may_have_its_own_hint(conditional: Model) -> None:
    hints = conditional.hint(pictures(70, 8, 8))
    x = conditional.sample(70, condition=hints)
    for i in (0, 63, 69):
        assert torch.equal(conditional.sample(1, condition=hints[i : i + 1], first=i), x[i : i + 1])


def test_the_hint_gives_the_size(conditional: Model) -> None:
    assert conditional.sample(2, condition=pictures(1, 12, 18)).shape == (2, 1, 12, 18)
    assert conditional.sample(2, condition=pictures(1, 12, 18), size=(12, 18)).shape == (2, 1, 12, 18)
    with pytest.raises(UsageError, match="the condition has size 12x18, but 8x8 is wanted"):
        conditional.sample(2, condition=pictures(1, 12, 18), size=(8, 8))


def test_a_hint_is_what_training_made_of_the_picture(conditional: Model) -> None:
    x, part = pictures(3, 8, 8), conditional.recipe.condition
    made = part.build()(x, generators(5, [2, 3, 4], 0))  # type: ignore[union-attr]
    assert torch.equal(conditional.hint(x, seed=5, first=2), made)


def test_hints_missing_or_too_many(conditional: Model, windowed: Model) -> None:
    with pytest.raises(UsageError, match="went through 'downscale': give a condition"):
        conditional.sample(1)
    with pytest.raises(UsageError, match="takes no condition; train one with"):
        windowed.sample(1, condition=pictures(1, 8, 8))
    with pytest.raises(UsageError, match="takes no condition"):
        windowed.hint(pictures(1, 8, 8))
    with pytest.raises(UsageError, match="one for each of 3 samples, got 2"):
        conditional.sample(3, condition=pictures(2, 8, 8))
    with pytest.raises(DataError):
        conditional.sample(1, condition="picture.png")


@pytest.mark.parametrize(("prior", "reason"), [("mixture", "takes no condition"), (None, "hint for the prior")])
def test_a_condition_wants_a_prior_that_takes_one(prior: str | None, reason: str) -> None:
    base = {key: value for key, value in PARTS.items() if not key.startswith("prior")}
    made = override(catalog.find("recipes", "vqvae").recipe(), {**base, "prior": prior, "condition": "mask"})
    with pytest.raises(UsageError, match=reason):
        check(made, SPEC)


def test_a_stored_model_still_wants_its_condition(conditional: Model, tmp_path: Any) -> None:
    folder.save(conditional, tmp_path)
    loaded, hint = folder.load(tmp_path), pictures(1, 8, 8)
    assert torch.equal(loaded.sample(2, condition=hint), conditional.sample(2, condition=hint))
