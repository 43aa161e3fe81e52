from __future__ import annotations

import pytest
import torch

from vitrail import catalog
from vitrail.errors import UsageError
from vitrail.model.model import Model
from vitrail.tasks.sample import sample
from vitrail.types import DataSpec


def test_a_sample_depends_on_seed_and_number_only(discrete: Model) -> None:
    whole = sample(discrete, 10, seed=3)
    part = sample(discrete, 4, seed=3, first=5)
    assert torch.equal(whole.pictures[5:9], part.pictures)
    assert whole.labels[5:9] == part.labels


def test_the_story_is_enough_to_draw_it_again(discrete: Model) -> None:
    drawn = sample(discrete, 5, label="7", seed=1, temperature=0.5)
    told = drawn.story(3)
    assert told["label"] == "7"
    assert told["settings"]["temperature"] == 0.5
    again = sample(discrete, 1, label=told["label"], seed=told["seed"], first=told["sample"], **told["settings"])
    assert torch.equal(again.pictures[0], drawn.pictures[3])


def test_settings_of_another_prior_are_refused(vector: Model) -> None:
    with pytest.raises(UsageError, match="no setting 'top_k'"):
        sample(vector, 2, top_k=3)


def test_a_condition_is_taken_as_it_is_or_spoiled_first(conditional: Model) -> None:
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    spoiled = conditional.hint(x, seed=4)
    drawn = sample(conditional, 3, condition=x, degrade=True, seed=4)
    assert drawn.hint is not None
    assert torch.equal(drawn.hint, spoiled)
    assert torch.equal(drawn.pictures, sample(conditional, 3, condition=spoiled, seed=4).pictures)
    later = sample(conditional, 1, condition=x, degrade=True, seed=4, first=2)
    assert torch.equal(later.pictures[0], drawn.pictures[2])
    assert drawn.labels == (None, None, None)


def test_the_story_names_size_and_condition(conditional: Model, discrete: Model) -> None:
    x = torch.rand(2, 1, 8, 12, generator=torch.Generator().manual_seed(0))
    stories = [sample(conditional, 2, condition=x).story(i) for i in range(2)]
    assert [story["size"] for story in stories] == [[8, 12], [8, 12]]
    assert len({story["condition"] for story in stories}) == 2
    told = sample(discrete, 1, size=(10, 6)).story(0)
    assert told["size"] == [10, 6]
    assert "condition" not in told


def test_degrading_nothing_is_refused(discrete: Model) -> None:
    with pytest.raises(UsageError, match="--degrade spoils the condition, but none was given"):
        sample(discrete, 1, degrade=True)


def test_further_settings_come_as_a_mapping(discrete: Model) -> None:
    plain = sample(discrete, 3, temperature=0.5, top_k=4)
    same = sample(discrete, 3, temperature=0.5, sampling={"top_k": 4})
    assert torch.equal(plain.pictures, same.pictures)
    assert plain.settings == same.settings
    with pytest.raises(UsageError, match="no setting 'eta'"):
        sample(discrete, 3, sampling={"eta": 1.0})


def test_where_there_is_nothing_to_guide_by_guidance_is_refused_and_the_recipes_own_is_none(discrete: Model) -> None:
    spec = discrete.spec.model_copy(update={"classes": ()})
    classless = Model.build(discrete.recipe, spec)
    assert discrete.recipe.prior.sampling.guidance == 2.5  # type: ignore[union-attr]
    drawn = sample(classless, 2)
    assert drawn.settings["guidance"] == 1.0
    again = sample(classless, 2, **drawn.story(0)["settings"])
    assert torch.equal(again.pictures, drawn.pictures)
    for call in (lambda: sample(classless, 2, guidance=1.5), lambda: classless.draw(1, guidance=1.5)):
        with pytest.raises(UsageError, match="nothing to guide by: this model's prior knows no classes"):
            call()


def test_a_snapshot_is_something_to_guide_by() -> None:
    small = {"denoiser": {"name": "unet", "width": 16, "blocks": 1}, "prior__guide": 0.3}
    spec = DataSpec(shape=(1, 8, 8))
    model = Model.build(catalog.find("recipes", "flow").recipe().vary(**small), spec)
    given = {"guidance": 2.0, "reference": "snapshot"}
    assert model.settings(given).model_dump()["guidance"] == 2.0
    with pytest.raises(UsageError, match="nothing to guide by"):
        model.settings({"guidance": 2.0})
    with pytest.raises(UsageError, match=r"^sampler: unknown solver 'foo' \(there is: "):
        model.settings({"sampler": "foo"})


def test_the_story_names_the_prompt() -> None:
    small = {"denoiser": {"name": "mlp", "width": 16, "depth": 1}, "data__captions": 8}
    model = Model.build(
        catalog.find("recipes", "flow").recipe().vary(**small), DataSpec(shape=(1, 8, 8), classes=("a", "b"))
    )
    drawn = sample(model, 2, prompt=("red", "blue"), steps=2)
    assert [drawn.story(i)["prompt"] for i in range(2)] == ["red", "blue"]
    assert drawn.labels == (None, None)
    assert sample(model, 2, prompt="red", steps=2).story(1)["prompt"] == "red"
    assert "prompt" not in sample(model, 1, steps=2).story(0)
