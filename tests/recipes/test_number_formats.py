"""No recipe multiplies in bfloat16 or float16 where the processor would have to emulate it: a whole run is watched.

The sizes are such that every kind of part takes part, Muon's products included.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from brief import BRIEF, NAMES, TINY, load
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vitrail import processor
from vitrail.data.dataset import open_dataset
from vitrail.model.recipe import Recipe, override
from vitrail.tasks.evaluate import evaluate
from vitrail.training import muon, run
from vitrail.training.muon import orthogonal

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "_convolution", "linear", "scaled_dot_product", "einsum")
HALVES = (torch.bfloat16, torch.float16)


class Watch(TorchDispatchMode):
    """Notes every product of half-precision numbers, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        halves = any(isinstance(each, Tensor) and each.dtype in HALVES for each in args)
        if halves and any(product in name for product in PRODUCTS):
            self.found.add(name)
        return func(*args, **(kwargs or {}))


def small(name: str) -> Recipe:
    recipe, changes = load(name), {**BRIEF, "training.precision": "auto", "training.steps": 4}
    sizes = TINY | {"network": {"widths": (32, 32), "blocks": 1}, "prior": {"width": 32, "depth": 1, "heads": 2}}
    for slot, values in sizes.items():
        fields = type(getattr(recipe, slot)).model_fields if getattr(recipe, slot) else {}
        changes |= {f"{slot}.{key}": value for key, value in values.items() if key in fields}
    return override(recipe, changes)


def test_the_watch_sees_products_forward_and_backward() -> None:
    x = torch.randn(4, 4, requires_grad=True)
    with Watch() as watch:
        (x.bfloat16() @ x.bfloat16()).float().sum().backward()
        torch.nn.functional.conv2d(torch.ones(1, 1, 4, 4).half(), torch.ones(1, 1, 2, 2).half())
    assert {"mm", "convolution"} <= watch.found


def test_muon_is_watched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "SMALL", 0)
    for native in (True, False):
        monkeypatch.setattr(processor, "multiplies", lambda _, native=native: native)
        with Watch() as watch:
            orthogonal(torch.randn(32, 64))
        assert bool(watch.found) == native


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_run_has_no_emulated_product(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "multiplies", lambda dtype: dtype not in HALVES)
    with Watch() as watch:
        model = run.train(small(name), "digits", tmp_path / "run")
        data = open_dataset("digits", model.recipe.data, "heldout", shape=model.spec.shape)
        evaluate(model, data, limit=8, likelihood=0)
        if model.prior is not None:
            model.sample(2)
    assert not watch.found
