from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vitrail.errors import ModelError, UsageError
from vitrail.interop.checkpoint import convert


class Evil:
    """A pickle that would write a file when loaded without weights_only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


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
    with pytest.raises(ModelError, match="cannot be converted"):
        convert(tmp_path / "evil.pth", tmp_path / "weights.safetensors")
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "weights.safetensors").exists()


def test_anything_but_named_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"state": {"weight": torch.zeros(1)}}, tmp_path / "nested.pth")
    with pytest.raises(ModelError, match="'state' is a dict"):
        convert(tmp_path / "nested.pth", tmp_path / "weights.safetensors")


def test_targets_and_sources_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.safetensors"):
        convert(tmp_path / "a.pth", tmp_path / "b.pth")
    with pytest.raises(ModelError, match="no checkpoint at"):
        convert(tmp_path / "a.pth", tmp_path / "b.safetensors")
