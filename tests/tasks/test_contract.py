"""What holds for every task: its signature alone can make a command or a request, its result is a small frozen value."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest
import torch

from vitrail import catalog
from vitrail.data.dataset import Dataset
from vitrail.errors import UsageError
from vitrail.model.model import Model
from vitrail.tasks import _signature as signature

TASKS = catalog.names("tasks")


def task(name: str) -> Callable[..., Any]:
    function = name.replace("-", "_")
    return getattr(catalog.find("tasks", name), function)


@pytest.mark.parametrize("name", TASKS)
def test_every_parameter_has_a_type_and_a_meaning(name: str) -> None:
    hints = get_type_hints(task(name))
    assert hints.keys() - {"return"} == set(inspect.signature(task(name)).parameters)
    assert [each.name for each in signature.parameters(task(name)) if not each.description] == []


@pytest.mark.parametrize("name", TASKS)
def test_the_model_comes_first_and_what_is_no_plain_value_says_what_stands_for_it(name: str) -> None:
    first, *others = signature.parameters(task(name))
    assert first.given is not None
    assert first.given.by == "run"
    assert [each.name for each in others if each.plain and each.required] == []
    signature.checked(task(name), {})  # pydantic knows the type of every plain value


@pytest.mark.parametrize("name", TASKS)
def test_the_result_is_a_frozen_dataclass(name: str) -> None:
    result = get_type_hints(task(name))["return"]
    assert dataclasses.is_dataclass(result)
    assert result.__dataclass_params__.frozen


@pytest.mark.parametrize("name", TASKS)
def test_the_task_runs_with_defaults(name: str, discrete: Model, digits: Dataset) -> None:
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    stands = {"run": discrete, "pictures": x, "latents": discrete.encode(x).codes, "source": digits}
    given = {
        each.name: stands[each.given.by]
        for each in signature.parameters(task(name))
        if each.given and each.given.by in stands
    }
    assert isinstance(task(name)(**given), get_type_hints(task(name))["return"])


def test_every_mistake_is_told_at_once() -> None:
    sample = task("sample")
    with pytest.raises(UsageError) as refused:
        signature.checked(sample, {"n": "many", "temperature": "-1", "top_p": "2", "seed": "7"})
    lines = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["-n", "--temperature", "--top-p"]


def test_text_becomes_values() -> None:
    found = signature.checked(task("sample"), {"n": "3", "label": "4", "top_p": "0.5", "temperature": None})
    assert (found["n"], found["label"], found["top_p"], found["temperature"]) == (3, "4", 0.5, None)
    assert signature.checked(task("decode"), {"space": "48x64"})["space"] == (48, 64)
    assert signature.checked(task("sample"), {"size": "48x64"})["size"] == (48, 64)
    found = signature.checked(task("evaluate"), {"sampling": ["eta=1,interval=[0.2,2]", "order=halton"], "steps": "7"})
    assert found["sampling"] == {"eta": 1, "interval": [0.2, 2], "order": "halton"}
    assert found["steps"] == 7


def test_settings_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^--sampling: wants KEY=VALUE,KEY=VALUE..., got \['eta'\]"):
        signature.checked(task("sample"), {"sampling": ["eta"]})


def test_how_to_draw_is_asked_for_alike() -> None:
    asked = [{each.name for each in signature.parameters(task(name))} for name in ("sample", "evaluate")]
    common = {"temperature", "top_k", "top_p", "guidance", "sampler", "steps", "hop", "sampling"}
    assert all(common <= names for names in asked)
