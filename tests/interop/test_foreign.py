"""Which file of a folder is read, and what beside it counts as its settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vitrail.errors import ModelError, UsageError
from vitrail.interop._foreign import opened


def weights(path: Path, value: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"w": torch.full((2,), value)}, path)
    return path


def test_a_file_is_read_by_its_names(tmp_path: Path) -> None:
    foreign = opened(weights(tmp_path / "a.safetensors"))
    assert foreign.tensors.keys() == {"w"}
    assert (foreign.path, foreign.settings) == (tmp_path / "a.safetensors", {})


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "config.json", "config.yaml", "model.yaml"])
def test_settings_lie_beside(name: str, tmp_path: Path) -> None:
    path = weights(tmp_path / "a.safetensors")
    (tmp_path / name).write_text(json.dumps({"model": {"z": 4}}))  # which is YAML too
    assert opened(path).settings == {"model": {"z": 4}}


def test_settings_of_the_same_name_come_first(tmp_path: Path) -> None:
    path = weights(tmp_path / "a.safetensors")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "a.yaml").write_text("mine: true")
    assert opened(path).settings == {"mine": True}


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "\x00", " " * (2 << 20)])
def test_settings_that_cannot_be_read_are_named(content: str, tmp_path: Path) -> None:
    path = weights(tmp_path / "a.safetensors")
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        opened(path)


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    path = weights(tmp_path / "a.safetensors")
    (tmp_path / "a.yaml").write_text(f"!!python/object/apply:os.system ['touch {tmp_path / 'canary'}']")
    with pytest.raises(ModelError, match=r"a\.yaml cannot be read"):
        opened(path)
    assert not (tmp_path / "canary").exists()


DEEP = 60  # levels that each double
BOMBS = {
    "lists": [
        "l0: &l0 [IBQ]",
        *(f"l{i + 1}: &l{i + 1} [*l{i}, *l{i}]" for i in range(DEEP)),
        f"model: {{target: *l{DEEP}}}",
    ],
    "merges": ["l0: &l0 {a: 1}", *(f"l{i + 1}: &l{i + 1} {{<<: [*l{i}, *l{i}]}}" for i in range(DEEP))],
    "strings": [f"long: &long {'x' * 500_000}", f"model: [{'*long, ' * 50_000}]"],
    "itself": ["model: &model {model: *model}"],
}


@pytest.mark.parametrize("kind", BOMBS)
def test_aliases_are_not_spelled_out(kind: str, tmp_path: Path) -> None:
    path = weights(tmp_path / "a.safetensors")
    (tmp_path / "a.yaml").write_text("\n".join(BOMBS[kind]))
    with pytest.raises(ModelError, match=r"a\.yaml cannot be read"):
        opened(path)


def test_of_a_folder_the_usual_file_is_taken(tmp_path: Path) -> None:
    weights(tmp_path / "diffusion_pytorch_model.fp16.safetensors", 2.0)
    weights(tmp_path / "diffusion_pytorch_model.safetensors", 3.0)
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"not looked at")
    assert float(opened(tmp_path).tensors["w"][0]) == 3


def test_of_several_none_is_guessed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        weights(tmp_path / f"{name}.safetensors")
    with pytest.raises(UsageError, match=r"holds 2 checkpoints; name one, such as .*a\.safetensors"):
        opened(tmp_path)


def test_averages_are_looked_for_in_pickled_files_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave out --ema"):
        opened(weights(tmp_path / "a.safetensors"), ema=True)
