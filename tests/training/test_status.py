"""What is said of a run is true, however its process ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vitrail import durable
from vitrail.errors import Interrupted
from vitrail.training import status
from vitrail.training.journal import Journal, Moment

STEP = {"stage": "codec", "step": 66, "progress": 0.07, "eta_seconds": 19.0}


def put(folder: Path, state: str) -> None:
    (folder / status.FILE).write_text(json.dumps({**STEP, "state": state, "pid": 1}))


@pytest.mark.parametrize(
    ("told", "free", "held"),
    [
        ("running", "interrupted", "running"),
        ("finished", "interrupted", "running"),  # one stage is done, and the next had not begun
        ("interrupted", "interrupted", "interrupted"),
        ("failed", "failed", "failed"),
    ],
)
def test_the_state_is_that_of_the_lock(tmp_path: Path, told: str, free: str, held: str) -> None:
    put(tmp_path, told)
    assert status.read(tmp_path) == {**STEP, "state": free, "pid": 1}
    with durable.alone(tmp_path):
        assert status.read(tmp_path)["state"] == held
    assert status.read(tmp_path)["state"] == free
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert status.read(tmp_path)["state"] == "finished"


def test_before_the_first_step_there_is_a_state_alone(tmp_path: Path) -> None:
    assert status.read(tmp_path) == {"state": "interrupted"}
    assert not (tmp_path / ".lock").exists()
    with durable.alone(tmp_path):
        assert status.read(tmp_path) == {"state": "running"}


@pytest.mark.parametrize("content", [b"", b'{"stage": "co', b"[]", b"\xff"])
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / status.FILE).write_bytes(content)
    assert status.read(tmp_path) == {"state": "interrupted"}


def test_where_the_lock_may_not_be_opened_the_file_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "running")

    def refused(folder: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(durable, "occupied", refused)
    assert status.read(tmp_path)["state"] == "running"


def test_whoever_goes_on_says_so_at_once(tmp_path: Path) -> None:
    status.resume(tmp_path)
    assert not (tmp_path / status.FILE).exists()  # nothing was broken off
    put(tmp_path, "interrupted")
    status.resume(tmp_path)
    with durable.alone(tmp_path):
        told = status.read(tmp_path)
    assert (told["state"], told["pid"], told["step"]) == ("running", os.getpid(), 66)


def test_the_file_tells_whose_it_is_and_since_when(tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    with Journal(tmp_path, "codec", 0, True, None) as journal:
        journal.beat(Moment("codec", 4, 0.5, 1.0, 10.0, 3.0), 0.0)
        told = json.loads((tmp_path / status.FILE).read_text())
    assert told["pid"] == os.getpid()
    assert before <= datetime.fromisoformat(told["started"]) <= datetime.now(UTC)


def started(out: Path) -> subprocess.Popen[bytes]:
    """A run of its own process, some steps into its codec."""
    settings = ["network.widths=[8,8]", "training.precision=fp32", "training.threads=1", "training.checkpoint_steps=20"]
    words = ["train", "vqvae", "--data", "digits", "--out", str(out), "--budget", "200000 steps"]
    words += [word for setting in settings for word in ("--set", setting)]
    child = subprocess.Popen([sys.executable, "-m", "vitrail", *words], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while status.read(out).get("step", 0) < 30 and time.monotonic() < deadline:
        time.sleep(0.1)
    return child


def said(*words: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vitrail", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_killed_run_is_not_running(tmp_path: Path) -> None:
    out = tmp_path / "run"
    child = started(out)
    try:
        told = json.loads(said("info", out, "--json").stdout)["status"]
        assert (told["state"], told["pid"]) == ("running", child.pid)
        assert "training it at the moment" in said("sample", out, "--out", tmp_path / "drawn").stderr
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert json.loads((out / status.FILE).read_text())["state"] == "running"  # which nobody could correct
    assert json.loads(said("info", out, "--json").stdout)["status"]["state"] == "interrupted"
    assert "interrupted: codec, step" in said("info", out).stdout
    assert "same `vitrail train` command again" in said("sample", out, "--out", tmp_path / "drawn").stderr


def test_a_full_disk_at_the_start_is_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "interrupted")

    def full(path: Path, content: bytes, through: bool = False) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "write_file", full)
    with pytest.raises(Interrupted, match="make room"):
        status.resume(tmp_path)
