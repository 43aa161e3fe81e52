"""Hostile checkpoints are refused, and nothing in them is run: seen by an audit hook, and by a file that must not appear."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import evil
import pytest
import torch

from vitrail import catalog
from vitrail.cli import run
from vitrail.errors import ModelError
from vitrail.interop._foreign import opened

NAMES = sorted(evil.patterns(Path("canary")))
TOLD = {
    "reduce os.system": "asks for os.system, which is code",
    "beside good weights": "asks for posix.system, which is code",
    "nested": "asks for posix.system, which is code",
    "legacy tar": "is a tar archive",
    "protocol 0": "begins neither as",
    "TorchScript": "is a TorchScript archive",
    "zip that inflates": "bytes that would become 67108864, and torch.save compresses nothing",
    "zip whose members overlap": "claims 65536",
    "huge bytearray": "more memory than a file of its size",
    "huge storage": "more memory than a file of its size",
    "huge view of a small storage": "claims tensors of 4398046511104 bytes",
    "itself": "is refused",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("evil")
    for name, content in evil.patterns(made / "canary").items():
        (made / f"{name}.ckpt").write_bytes(content)
    torch.save({"state_dict": {"w": torch.ones(2)}}, made / "good.ckpt")
    return made


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Any]:
    """What a process that reads them one by one, each in a fork, saw."""
    environment = {**os.environ, "PYTHONPATH": str(catalog.ROOT.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, evil.__file__, str(folder)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert any("os.system" in event for event in seen["control"]["events"])  # the hook does see what it is there for
    assert (folder / "canary").exists()
    (folder / "canary").unlink()
    return seen


def test_there_are_many() -> None:
    assert len(NAMES) >= 40  # as the documentation says


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_run(name: str, told: dict[str, Any]) -> None:
    seen = told[name]
    assert seen["events"] == []
    assert seen["code"] == 4 or (name == "hash that never ends" and seen["code"] == -signal.SIGXCPU), seen
    if seen["code"] == 4:
        answer = json.loads(seen["said"].splitlines()[-1])
        assert answer["kind"] == "ModelError"
        assert "\n" not in answer["message"]
        assert TOLD.get(name, "") in answer["message"]
        assert len(answer["message"]) < 500


def test_a_good_file_passes_without_any_such_event(told: dict[str, Any]) -> None:
    assert told["good"]["code"] == 0
    assert told["good"]["events"] == []


@pytest.mark.parametrize("name", ["reduce os.system", "zip that inflates"])
def test_it_is_a_model_refused(name: str, folder: Path) -> None:
    with pytest.raises(ModelError) as caught:
        opened(folder / f"{name}.ckpt")
    assert TOLD[name] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (folder / "canary").exists()


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("reduce os.system", "legacy tar") else pytest.param(name, marks=pytest.mark.slow)
        for name in NAMES
    ],
)
def test_the_command_line_returns_4(
    name: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrail.interop.checkpoint.SECONDS", 1)
    assert run(["import", str(folder / f"{name}.ckpt"), "--out", str(tmp_path / "model")]) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (folder / "canary").exists()
    assert not (tmp_path / "model").exists()
