"""The Recipe: printing and reading, overriding, and mistakes named all at once."""

import json
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from vitrail import catalog
from vitrail.bottlenecks import gaussian, vq
from vitrail.data.degradations import blur
from vitrail.errors import UsageError
from vitrail.model.recipe import Recipe, Stage, Training, override, parse, read_settings
from vitrail.model.weight import Ramp
from vitrail.recipes import autoencoder, beta_vae, denoising, vqvae

NAMES = catalog.names("recipes")


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(UsageError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_printed_is_read_back(name: str) -> None:
    recipe: Recipe = catalog.find("recipes", name).recipe()
    assert parse(recipe.printed()) == recipe
    assert parse(json.loads(json.dumps(recipe.printed()))) == recipe
    assert parse(yaml.safe_load(yaml.safe_dump(recipe.printed()))) == recipe
    assert override(recipe, {}) == recipe


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError):
        vqvae.recipe().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("bottleneck.sise", r"bottleneck.sise: unknown field; did you mean 'size'?"),
        ("traning.seed", r"traning: unknown field; did you mean 'training'?"),
        ("training.bugdet", r"training.bugdet: unknown field; did you mean 'budget'?"),
        ("training.codec.optimizer", r"training.codec.optimizer: unknown field; did you mean 'optimiser'?"),
        ("prior.sampling.temprature", r"prior.sampling.temprature: unknown field; did you mean 'temperature'?"),
        ("data.flipp", r"data.flipp: unknown field; did you mean 'flip'?"),
    ],
)
def test_a_typo_names_the_nearest_key(key: str, says: str) -> None:
    assert refused(override, vqvae.recipe(), {key: 1}).startswith(says)


def test_an_unknown_part_names_the_nearest() -> None:
    assert "bottleneck: unknown bottleneck 'gausian'; did you mean 'gaussian'?" in refused(
        override, vqvae.recipe(), {"bottleneck": "gausian"}
    )


def test_all_mistakes_are_told_at_once() -> None:
    changes = {
        "bottleneck.size": "many",
        "bottleneck.colour": 1,
        "prior": "transformer",
        "network.blocks": -1,
        "training.sed": 1,
        "training.codec.lr": -1,
        "training.budget": "soon",
        "data.fit": "squeeze",
        "weights.kl": "much",
    }
    lines = refused(override, vqvae.recipe(), changes).splitlines()
    for key in changes:
        assert sum(line.startswith(key) for line in lines) == 1, (key, lines)
    assert len(lines) == len(changes)


@pytest.mark.parametrize("tree", [{}, {"name": "x"}, {**vqvae.recipe().printed(), "network": None}])
def test_missing_parts_are_named(tree: dict[str, Any]) -> None:
    assert refused(parse, tree).count("network: ") == 1
    assert "network: wants a name" in refused(parse, tree)


@pytest.mark.parametrize("value", [5, [1], {"size": 3}, {"name": 7}, True])
def test_what_is_no_part_is_refused(value: Any) -> None:
    assert "bottleneck: wants a name or a mapping with a name" in refused(
        override, vqvae.recipe(), {"bottleneck": value}
    )


def test_another_part_starts_from_its_defaults() -> None:
    recipe = vqvae.recipe().vary(bottleneck__size=64)
    assert override(recipe, {"bottleneck": "vq"}).bottleneck == vq.Config()
    assert override(recipe, {"bottleneck.name": "gaussian"}).bottleneck.printed()["name"] == "gaussian"
    assert override(recipe, {"bottleneck.name": "vq"}).bottleneck == recipe.bottleneck  # the same part: as it was
    assert override(recipe, {"bottleneck.channels": 3}).bottleneck == vq.Config(size=64, channels=3)


@pytest.mark.parametrize("key", ["prior", "prior.name"])
@pytest.mark.parametrize("first", [True, False])
def test_a_part_and_its_fields_may_come_in_any_order(first: bool, key: str) -> None:
    changes = {key: "mixture", "prior.components": 5}
    made = override(vqvae.recipe(), changes if first else dict(reversed(changes.items())))
    assert made.prior.printed() == {**catalog.find("priors", "mixture").Config(components=5).printed()}


def test_a_degradation_comes_and_goes() -> None:
    assert denoising.recipe().degradation is not None
    assert denoising.recipe().vary(degradation=None).degradation is None
    assert autoencoder.recipe().vary(degradation=blur.Config()).degradation == blur.Config()
    assert override(autoencoder.recipe(), {"degradation": "blur"}).degradation == blur.Config()


def test_a_prior_may_be_left_out() -> None:
    plain = override(vqvae.recipe(), {"prior": None})
    assert plain.prior is None
    assert plain.printed()["prior"] is None
    assert parse(plain.printed()) == plain
    assert override(plain, {"prior": "mixture"}).prior == catalog.find("priors", "mixture").Config()
    assert "prior: wants a name" in refused(override, plain, {"prior.width": 8})
    tree = vqvae.recipe().printed()
    del tree["prior"]
    assert "prior: field required" in refused(parse, tree)


def test_vary_leaves_the_original_alone() -> None:
    recipe = vqvae.recipe()
    varied = recipe.vary(training__codec__lr=0.5, weights={"commitment": 2.0})
    assert (varied.training.codec.lr, varied.weights) == (0.5, {"commitment": 2.0})
    assert recipe == vqvae.recipe()


def test_steps_are_short_for_a_budget() -> None:
    assert override(vqvae.recipe(), {"training.steps": 20_000}).training.budget == "20000 steps"


@pytest.mark.parametrize(
    "text", ["20000 steps", "10 epochs", "2M images", "90s", "6min", "2h", "1.5h", "0.5 epochs", "5k steps"]
)
def test_budgets_that_can_be_read(text: str) -> None:
    assert Training(budget=text).budget == text


@pytest.mark.parametrize(
    "text", ["", "soon", "10", "ten epochs", "-5 steps", "1.2.3 steps", ". steps", "0 steps", "5 parsecs"]
)
def test_budgets_that_cannot(text: str) -> None:
    assert "is no budget" in refused(override, vqvae.recipe(), {"training.budget": text})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("a.b=1", 1),
        ("a.b = 1", 1),
        ("a.b=1e-3", 1e-3),
        ("a.b=1E5", 1e5),
        ("a.b=-2e3", -2000.0),
        ("a.b=0.5", 0.5),
        ("a.b=true", True),
        ("a.b=null", None),
        ("a.b=", None),
        ("a.b=6min", "6min"),
        ("a.b=20 epochs", "20 epochs"),
        ("a.b=[64, 128]", [64, 128]),
        ("a.b={name: vq, size: 8}", {"name": "vq", "size": 8}),
        ("a.b=x=y", "x=y"),
    ],
)
def test_settings_are_read_as_yaml(setting: str, value: Any) -> None:
    assert read_settings([setting]) == {"a.b": value}


@pytest.mark.parametrize("setting", ["training.seed", "=5", " =5", "a=[1", "a={b"])
def test_settings_that_cannot_be_read(setting: str) -> None:
    assert "--set" in refused(read_settings, [setting])


def test_settings_reach_the_recipe() -> None:
    changes = read_settings(
        ["bottleneck.size=1024", "data.flip=true", "network.widths=[8, 16]", "training.codec.lr=1e-4"]
    )
    made = override(vqvae.recipe(), changes)
    assert made.bottleneck.printed()["size"] == 1024
    assert made.data.flip
    assert made.network.printed()["widths"] == [8, 16]
    assert made.training.codec.lr == 1e-4


def test_weights_can_be_added() -> None:
    recipe = vqvae.recipe()
    assert override(recipe, {"weights.codebook": 2}).weights == {**recipe.weights, "codebook": 2.0}


@pytest.mark.parametrize("key", ["bottleneck", "bottleneck.name"])
def test_another_part_brings_the_weights_of_its_terms(key: str) -> None:
    recipe = vqvae.recipe().vary(weights={"commitment": 0.5, "other": 2.0})
    assert override(recipe, {key: "gaussian"}).weights == {"other": 2.0, **gaussian.Config.usual_weights}
    assert override(recipe, {key: "none"}).weights == {"other": 2.0}
    assert override(recipe, {key: "vq"}).weights == recipe.weights  # no other part
    back = override(override(recipe, {key: "none"}), {key: "vq"})
    assert back.weights == {"other": 2.0, **vq.Config.usual_weights}


def test_weights_that_are_given_count_more_than_usual_ones() -> None:
    recipe = vqvae.recipe().vary(perceptual=None)
    assert override(recipe, {"weights.kl": 3, "bottleneck": "gaussian"}).weights == {"kl": 3.0}
    assert override(recipe, {"weights": {"kl": 3}, "bottleneck": "gaussian"}).weights == {"kl": 3.0}
    assert override(recipe, {"weights.kl.cycles": 4, "bottleneck": "gaussian"}).weights == {"kl": Ramp(cycles=4)}
    assert recipe.vary(bottleneck=gaussian.Config(channels=2)).weights == {"kl": 1.0}


def test_a_weight_may_move() -> None:
    recipe = override(beta_vae.recipe(), {"weights.kl.cycles": 4})
    assert recipe.weights == {"kl": Ramp(peak=4.0, cycles=4)}  # what it was is what it reaches
    assert override(recipe, {"weights.kl.over": 0.25, "weights.kl": 2}).weights == {"kl": Ramp(peak=2.0, over=0.25)}
    assert override(recipe, {"weights.kl": 2}).weights == {"kl": 2.0}
    assert override(vqvae.recipe(), {"weights.new.after": 0.5}).weights["new"] == Ramp(after=0.5)
    for made in (Ramp(start=0.3, peak=0.1), {"start": 0.3, "peak": 0.1}):
        assert override(recipe, {"weights": {"entropy": made}}).weights == {"entropy": Ramp(start=0.3, peak=0.1)}
        assert override(recipe, {"weights.kl": made}).weights == {"kl": Ramp(start=0.3, peak=0.1)}
    assert parse(json.loads(json.dumps(recipe.printed()))) == recipe


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weights.kl": "much"}, "weights.kl: input should be a valid number"),
        ({"weights.kl": float("nan")}, "weights.kl: input should be a finite number"),
        ({"weights.kl.cycels": 3}, "weights.kl.cycels: unknown field; did you mean 'cycles'?"),
        ({"weights.kl.cycles": 0}, "weights.kl.cycles: input should be greater than or equal to 1, got 0"),
        ({"weights": 3}, "weights: input should be a valid dictionary"),
    ],
)
def test_weights_that_cannot_be(changes: dict[str, Any], says: str) -> None:
    told = refused(override, beta_vae.recipe(), changes)
    assert told.startswith(says)
    assert "\n" not in told


def test_groups_of_settings_may_be_given_as_such() -> None:
    assert vqvae.recipe().vary(training__codec=Stage(lr=0.5)).training.codec == Stage(lr=0.5)


@pytest.mark.parametrize(
    "field", [*Recipe.model_fields.values(), *Training.model_fields.values(), *Ramp.model_fields.values()]
)
def test_every_field_is_described(field: Any) -> None:
    assert field.description
