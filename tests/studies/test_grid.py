"""Grids: what is typed becomes cells, and mistakes are told from combinations that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from vitrail import catalog
from vitrail.errors import UsageError
from vitrail.model.recipe import Recipe, override
from vitrail.studies.grid import Axis, axis, planned


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return catalog.find("recipes", "vqvae").recipe()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("k=1,2,2,4", (1, 2, 4)),
        ("k=[8,5,5],[8,8,8]", ([8, 5, 5], [8, 8, 8])),
        ("k=vq, none,null", ("vq", "none", None)),
        ("k=1e-3,0.5,true", (1e-3, 0.5, True)),
        ("k={a: 1, b: 2},3", ({"a": 1, "b": 2}, 3)),
    ],
)
def test_values_are_yaml_between_commas_outside_brackets(text: str, values: tuple[Any, ...]) -> None:
    assert axis(text) == Axis("k", values)


@pytest.mark.parametrize("text", ["k", "=1", "k=", "k=1,,2", "k=[1,2"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--over"):
        axis(text)


def test_every_combination_then_the_next_seed(recipe: Recipe) -> None:
    plan = planned(recipe, [axis("bottleneck.size=8,16"), axis("bottleneck.decay=0.9,0.99")], seeds=2)
    assert [cell.seed for cell in plan.cells] == [0] * 4 + [1] * 4
    assert [tuple(cell.settings.values()) for cell in plan.cells[:4]] == [(8, 0.9), (8, 0.99), (16, 0.9), (16, 0.99)]
    assert len({cell.digest for cell in plan.cells}) == len({cell.name for cell in plan.cells}) == 8
    assert plan.cells[1].name == "bottleneck.size=8_bottleneck.decay=0.99_seed=0"


def test_a_cell_is_what_the_same_settings_make(recipe: Recipe) -> None:
    settings = {"training.budget": "3 steps", "training.seed": 5}
    (cell,) = planned(recipe, [axis("bottleneck.size=8")], settings).cells
    assert cell.recipe == override(recipe, {**settings, "bottleneck.size": 8, "prior": None})
    (cell,) = planned(recipe, [axis("prior=normal")], settings, prior=True).cells
    assert cell.recipe == override(recipe, {**settings, "prior": "normal"})


def test_a_part_goes_before_its_fields_and_the_own_one_keeps_its_settings(recipe: Recipe) -> None:
    changed = override(recipe, {"bottleneck.decay": 0.9})
    plan = planned(changed, [axis("bottleneck.channels=4,8"), axis("bottleneck=vq,gaussian")])
    own, other = plan.cells[2:]
    assert own.recipe is not None
    assert other.recipe is not None
    assert own.recipe.bottleneck.printed() == {**changed.bottleneck.printed(), "channels": 8}
    assert other.recipe.bottleneck.printed()["name"] == "gaussian"
    assert other.recipe.bottleneck.printed()["channels"] == 8
    assert "commitment" in own.recipe.weights


def test_names_of_folders_are_plain_and_differ(recipe: Recipe) -> None:
    names = [cell.name for cell in planned(recipe, [axis("network.widths=[8,16],[8 ,1,6],[816]")]).cells]
    assert len(set(names)) == 3
    assert not set("".join(names)) & set("/ [],")


def test_values_that_no_combination_makes_valid_are_mistakes(recipe: Recipe) -> None:
    axes = [axis("bottleneck.size=8,many"), axis("bottleneck=vq,vqq"), axis("bottleneck.decai=0.5")]
    with pytest.raises(UsageError) as refused:
        planned(recipe, axes, {"training.budget": "soon"})
    lines = str(refused.value).splitlines()
    assert len(lines) == len(set(lines))
    for part in ("got 'many'", "unknown bottleneck 'vqq'", "did you mean 'decay'?", "'soon' is no budget"):
        assert any(part in line for line in lines), part


def test_a_combination_that_is_none_is_a_cell_with_a_reason(recipe: Recipe) -> None:
    plan = planned(recipe, [axis("bottleneck=vq,gaussian"), axis("bottleneck.channels=4"), axis("weights.kl=1,2")])
    assert all(cell.recipe for cell in plan.cells)  # weights are judged when terms are known
    plan = planned(recipe, [Axis("training.codec.betas", ([0.9, 0.99],)), axis("data.size=8,16")])
    assert all(cell.recipe for cell in plan.cells)
    mixed = [Axis("bottleneck", ("vq", {"name": "vq", "sise": 3})), axis("bottleneck.size=8")]
    with pytest.raises(UsageError, match="sise"):
        planned(recipe, mixed)


@pytest.mark.parametrize(
    ("axes", "options", "part"),
    [
        ((), {}, "--over is missing"),
        (("bottleneck.size=1", "bottleneck.size=2"), {}, "given twice"),
        (("training.seed=1,2",), {}, "use --seeds"),
        (("bottleneck.size=1",), {"seeds": 0}, "--seeds wants 1 or more"),
        (("bottleneck.size=1",), {"settings": {"bottleneck.size": 2}}, "cannot be set as well"),
        (("training.steps=1,2",), {"settings": {"training.budget": "9s"}}, "training.budget is varied"),
        (("bottleneck.size=1",), {"settings": {"training.seed": "x"}}, "wants a whole number"),
        (("prior.depth=1,2",), {}, "add --prior"),
    ],
)
def test_plans_that_make_no_sense(recipe: Recipe, axes: tuple[str, ...], options: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        planned(recipe, [axis(text) for text in axes], **options)
