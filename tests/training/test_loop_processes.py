"""The loop in processes of its own: killed, terminated, or two as one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from toys import curve, files, train

from vitrail.training import loop

SCRIPT = Path(__file__).parent / "toys.py"


def start(folder: Path, steps: int, kind: str = "noisy", launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(loop.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), str(steps), kind]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_kill_9_loses_nothing(tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir(), disturbed.mkdir()
    train(undisturbed, 60)
    for wait in (0.0, 0.03):
        child = start(disturbed, 60)
        while not (disturbed / "metrics.jsonl").exists() or not (disturbed / "metrics.jsonl").stat().st_size:
            time.sleep(0.002)
        time.sleep(wait)
        child.kill()
        child.communicate()
    child = start(disturbed, 60)
    assert child.communicate()[1].count("damaged") == 0
    assert child.returncode == 0
    assert curve(disturbed) == curve(undisturbed)
    assert files(disturbed) == files(undisturbed)


def test_sigterm_ends_with_exit_code_5(tmp_path: Path) -> None:
    child = start(tmp_path, 1_000_000)
    while not (tmp_path / "metrics.jsonl").exists() or not (tmp_path / "metrics.jsonl").stat().st_size:
        time.sleep(0.01)
    child.terminate()
    _, said = child.communicate()
    assert child.returncode == 5
    assert said.count("\n") == 1
    assert "the same command resumes it" in said


def test_two_processes_are_as_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone")
    children = [start(one, 100, "one"), start(two, 100, "two", launcher)]
    for child in children:
        said = child.communicate(timeout=120)[1]
        assert child.returncode == 0, said
    for line, other in zip(curve(one), curve(two), strict=True):
        assert line["loss"] == pytest.approx(other["loss"], abs=1e-4)
        assert line["grad_norm"] == pytest.approx(other["grad_norm"], abs=1e-3)
    first, second = (torch.load(two / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["world"] == 2
    assert torch.equal(first["mean"], second["mean"])
