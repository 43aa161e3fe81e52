"""Models that come from elsewhere, and go there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vitrail import catalog
from vitrail.interop import maskgit
from vitrail.interop._keys import theirs
from vitrail.interop._ldm import foreign_part
from vitrail.model import folder
from vitrail.model.model import Model
from vitrail.model.recipe import override
from vitrail.types import DataSpec

Vitrail = Callable[..., Any]  # the fixture of conftest.py


def original() -> Model:
    parts = {
        "network": {"name": "maskgit", "widths": [32, 32, 32], "blocks": 1},
        "bottleneck": {"name": "vq", "size": 16, "channels": 8, "codebook": "gradient"},
        "prior": None,
    }
    return Model.build(override(catalog.find("recipes", "vqvae").recipe(), parts), DataSpec(shape=(3, 16, 16)))


def published(model: Model) -> dict[str, Tensor]:
    return {theirs(name, maskgit.TABLE): tensor for name, tensor in foreign_part(model.codec).items()}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny random checkpoint in MaskGIT's layout."""
    save_file(published(original()), tmp_path / "vq.safetensors")
    return tmp_path / "vq.safetensors"


def test_import_makes_a_model(vitrail: Vitrail, checkpoint: Path, tmp_path: Path) -> None:
    ran = vitrail("import", checkpoint, "--out", tmp_path / "m", "--size", "32x16", "--json")
    assert ran.code == 0, ran.err
    model = folder.load(tmp_path / "m")
    assert (ran.facts["format"], ran.facts["fingerprint"]) == ("maskgit", model.fingerprint)
    assert ran.facts["shape"] == [3, 32, 16]
    assert ran.facts["latent"] == {"shape": [8, 8, 4], "grid": [8, 4], "levels": 1, "codes": 16}
    x = torch.rand(2, 3, 32, 16)
    torch.testing.assert_close(model.reconstruct(x), original().reconstruct(x))
    assert "maskgit checkpoint `vq.safetensors`" in (tmp_path / "m" / "README.md").read_text()


def test_import_says_what_to_try_next(vitrail: Vitrail, checkpoint: Path, tmp_path: Path, pictures: Path) -> None:
    told = vitrail("import", checkpoint, "--out", tmp_path / "m").out
    assert "1 x 64x64 codes of 16, 0.250 bits per pixel" in told
    words = told.splitlines()[-1].removeprefix("next: vitrail ").replace("PICTURES", str(pictures)).split()
    words[-1] = str(tmp_path / words[-1])
    assert vitrail(*words).code == 0


def test_a_pickled_checkpoint_makes_the_same_model(vitrail: Vitrail, checkpoint: Path, tmp_path: Path) -> None:
    twin = {name: torch.zeros_like(tensor) for name, tensor in published(original()).items()}
    torch.save({"model": twin, "ema": published(original()), "steps": 3}, tmp_path / "vq.ckpt")
    first = vitrail("import", checkpoint, "--out", tmp_path / "a", "--json").facts
    second = vitrail("import", tmp_path / "vq.ckpt", "--ema", "--out", tmp_path / "b", "--json").facts
    assert first["fingerprint"] == second["fingerprint"]


def test_every_mistake_is_told_at_once(vitrail: Vitrail, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    ran = vitrail("import", checkpoint, "--out", tmp_path / "there", "--format", "tamming", "--size", "32", "--json")
    assert ran.code == 2
    messages = ran.facts["error"]["messages"]
    assert all(
        part in message for part, message in zip(("is there already", "'taming'?", "256x256"), messages, strict=True)
    )
    ran = vitrail("export", tmp_path, "--to", "onyx", "--json")
    assert ran.code == 2
    messages = ran.facts["error"]["messages"]
    assert all(
        part in message for part, message in zip(("did you mean 'onnx'?", "--out is missing"), messages, strict=True)
    )


def test_what_no_format_knows(vitrail: Vitrail, tmp_path: Path) -> None:
    save_file({f"layer.{i}.weight": torch.zeros(1) for i in range(9)}, tmp_path / "other.safetensors")
    ran = vitrail("import", tmp_path / "other.safetensors", "--out", tmp_path / "m")
    assert ran.code == 4
    assert "maskgit" in ran.err
    assert "begin with layer.0.weight, layer.1.weight" in ran.err
    assert not (tmp_path / "m").exists()
    ran = vitrail("import", tmp_path / "other.safetensors", "--format", "maskgit", "--out", tmp_path / "m")
    assert ran.code == 4
    assert "is missing" in ran.err


def test_what_is_no_checkpoint(vitrail: Vitrail, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no checkpoint")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    for name, code, part in (
        ("text.txt", 2, "wants a folder"),
        ("torn.safetensors", 4, "cannot be read"),
        ("none.pt", 4, "no"),
    ):
        ran = vitrail("import", tmp_path / name, "--out", tmp_path / "m")
        assert (ran.code, part in ran.err) == (code, True), ran.err


def test_the_folder_of_a_checkpoint(vitrail: Vitrail, checkpoint: Path, tmp_path: Path) -> None:
    home = tmp_path / "home" / "vae"
    home.mkdir(parents=True)
    checkpoint.rename(home / "diffusion_pytorch_model.safetensors")
    (home / "config.json").write_text(json.dumps({"resolution": 48}))
    for path in (home, home.parent):  # of the model, and of the pipeline around it
        facts = vitrail("import", path, "--out", tmp_path / f"{path.name}-model", "--json").facts
        assert facts["shape"] == [3, 48, 48]
    (tmp_path / "empty").mkdir()
    assert "no checkpoint in this folder" in vitrail("import", tmp_path / "empty", "--out", tmp_path / "n").err


def test_export_to_onnx(vitrail: Vitrail, dense: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the export extra")
    ran = vitrail("export", dense, "--to", "onnx", "--out", tmp_path / "o", "--json")
    assert ran.code == 0, ran.err
    assert ran.facts["files"] == ["encoder.onnx", "decoder.onnx", "onnx.json"]
    assert {each.name for each in (tmp_path / "o").iterdir()} == set(ran.facts["files"])
    assert json.loads((tmp_path / "o" / "onnx.json").read_text())["fingerprint"] == ran.facts["fingerprint"]
    assert "is there already" in vitrail("export", dense, "--to", "onnx", "--out", tmp_path / "o").err


def test_a_model_that_does_not_fit_leaves_nothing(vitrail: Vitrail, dense: Path, tmp_path: Path) -> None:
    ran = vitrail("export", dense, "--to", "diffusers", "--out", tmp_path / "o")
    assert ran.code == 2, ran.err
    assert list(tmp_path.iterdir()) == []
