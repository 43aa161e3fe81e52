import sys
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from vitrail.errors import ModelError, UsageError
from vitrail.interop.checkpoint import convert
from vitrail.interop.checkpoint._wrappers import tensors_of


class Evil:
    """A pickle that would write a file when loaded without weights_only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def same(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_tensors_survive_also_where_they_share_memory(tmp_path: Path) -> None:
    shared = torch.arange(6.0).view(2, 3)
    torch.save({"a": shared, "b": shared, "c": shared.T}, tmp_path / "weights.pth")
    convert(tmp_path / "weights.pth", tmp_path / "weights.safetensors")
    loaded = load_file(tmp_path / "weights.safetensors")
    assert set(loaded) == {"a", "b", "c"}
    assert torch.equal(loaded["b"], shared)
    assert torch.equal(loaded["c"], shared.T)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    torch.save({"weight": Evil(tmp_path / "owned")}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"is refused: it asks for getattr, .* nothing of it was run"):
        convert(tmp_path / "evil.pth", tmp_path / "weights.safetensors")
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "weights.safetensors").exists()


def test_anything_but_named_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"state": {"weight": torch.zeros(1)}}, tmp_path / "nested.pth")
    with pytest.raises(
        ModelError, match=r"wants a dict of named tensors, but holds a dict of 1 entries \('state': dict\)"
    ):
        convert(tmp_path / "nested.pth", tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match="but holds a list"):
        tensors_of([torch.zeros(1)])


WEIGHTS = {"encoder.conv.weight": torch.ones(2), "decoder.bias": torch.zeros(3)}
AVERAGES = {"encoder.conv.weight": torch.full((2,), 5.0), "decoder.bias": torch.full((3,), 6.0)}


CASES: dict[str, Any] = {
    "flat": WEIGHTS,
    "lightning": {"state_dict": WEIGHTS, "epoch": 3, "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}]},
    "nested": {"model": {"state_dict": OrderedDict(WEIGHTS)}, "hyper_parameters": {"lr": 0.1}},
    "mixed": {"state_dict": {**WEIGHTS, "note": "text", "step": 4}, "other": torch.ones(1)},
}


@pytest.mark.parametrize("case", CASES)
def test_wrappers_are_opened_and_the_rest_is_dropped(case: str) -> None:
    same(tensors_of(CASES[case]), WEIGHTS)


@pytest.mark.parametrize("legacy", [False, True])
def test_what_training_programs_leave_behind_is_dropped_too(legacy: bool, tmp_path: Path) -> None:
    left = {"optimizer": {"state": {}}, "args": Namespace(lr=0.1), "best": np.float64(2.5)}
    path = tmp_path / "a.ckpt"
    torch.save({"model": WEIGHTS, **left}, path, _use_new_zipfile_serialization=not legacy)
    convert(path, tmp_path / "weights.safetensors")
    same(load_file(tmp_path / "weights.safetensors"), WEIGHTS)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"model": WEIGHTS, "ema": AVERAGES},
        {
            "state_dict": {
                **WEIGHTS,
                **{f"model_ema.{name.replace('.', '')}": value for name, value in AVERAGES.items()},
            }
        },
    ],
)
def test_averages_are_taken_where_asked_for(wrapped: Any) -> None:
    same(tensors_of(wrapped), WEIGHTS)
    same(tensors_of(wrapped, ema=True), AVERAGES)


def test_averages_that_are_not_there(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "a.ckpt")
    with pytest.raises(UsageError, match="leave out --ema"):
        convert(tmp_path / "a.ckpt", tmp_path / "ema.safetensors", ema=True)
    with pytest.raises(ModelError, match="only running averages under 'ema'; give --ema"):
        tensors_of({"ema": AVERAGES})


def test_targets_and_sources_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.safetensors"):
        convert(tmp_path / "a.pth", tmp_path / "b.pth")
    with pytest.raises(ModelError, match="no checkpoint at"):
        convert(tmp_path / "a.pth", tmp_path / "b.safetensors")


def test_a_system_that_cannot_confine_a_process_reads_no_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(WEIGHTS, tmp_path / "a.ckpt")
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    with pytest.raises(ModelError, match=r"a\.ckpt is a pickle, .* turn it into \.safetensors"):
        convert(tmp_path / "a.ckpt", tmp_path / "b.safetensors")
