"""From a recipe and the data's shape to modules."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vitrail import catalog
from vitrail.errors import UsageError
from vitrail.model.build import build_codec, build_prior, check, fitted
from vitrail.model.recipe import Recipe, override
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 8, 8), classes=("a", "b"))
Make = Callable[[str], Recipe]


@pytest.mark.parametrize("name", ["vqvae", "vae"])
def test_weights_depend_on_the_seed_only(name: str, small_recipe: Make) -> None:
    recipe = small_recipe(name)

    def weights(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(torch.seed())
        varied = recipe.vary(training__seed=seed)
        codec = build_codec(varied, SPEC)
        return [*codec.state_dict().values(), *build_prior(varied, SPEC, codec).state_dict().values()]

    first = weights(0)
    assert all(torch.equal(a, b) for a, b in zip(first, weights(0), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, weights(1), strict=True))


def test_the_global_generator_is_left_alone(small_recipe: Make) -> None:
    state = torch.get_rng_state()
    build_prior(small_recipe("vqvae"), SPEC, build_codec(small_recipe("vqvae"), SPEC))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prior": "autoregressive"}, "use prior=mixture or bottleneck=vq"),
    ],
)
def test_parts_that_do_not_fit_are_named_before_anything_is_allocated(
    changes: dict[str, Any], says: str, small_recipe: Make
) -> None:
    with pytest.raises(UsageError, match=says):
        check(small_recipe("vae").vary(**changes), SPEC)


def test_checking_allocates_nothing(small_recipe: Make) -> None:
    check(small_recipe("vqvae").vary(bottleneck__size=1 << 40), SPEC)  # 16 TiB of codes


LABELLED = [
    name for name in catalog.names("priors") if "label_dropout" in catalog.find("priors", name).Config.model_fields
]


@pytest.mark.parametrize(("share", "known"), [(0.1, 2), (1.0, 0)])
@pytest.mark.parametrize("name", LABELLED)
def test_a_prior_that_is_never_told_classes_knows_none(name: str, share: float, known: int) -> None:
    spec = DataSpec(shape=(1, 8, 8), classes=("ant", "bee"))
    recipe = fitted(
        override(catalog.find("recipes", "vqvae").recipe(), {"prior": name, "prior.label_dropout": share}), spec
    )
    with torch.device("meta"):
        prior = build_prior(recipe, spec, build_codec(recipe, spec))
    assert prior is not None
    assert prior.classes == known
