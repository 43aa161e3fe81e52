"""The main job in miniature on what other systems and processors leave of this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vitrail import catalog

JOB = Path(__file__).with_name("job.py")
WORKS = dict.fromkeys(("train", "resume", "info", "sample", "again", "reconstruct", "evaluate", "doctor"), 0)
FULL = {"codec": "fp32", "prior": "fp32"}  # precision by stage
REFUSED = 4  # a pickle that holds no known model


def ran(system: str, folder: Path, *settings: str, **environment: str) -> tuple[dict[str, Any], str]:
    """What the job told, and what it said on standard error."""
    plain = {"PYTHONPATH": str(catalog.ROOT.parent), "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "cp1252"}
    words = [sys.executable, "-X", "warn_default_encoding", str(JOB), system, str(folder), *settings]
    done = subprocess.run(words, capture_output=True, env={**os.environ, **plain, **environment}, timeout=300)
    said = done.stderr.decode("cp1252", errors="replace")
    assert done.returncode == 0, said
    told: dict[str, Any] = json.loads((folder / "told.json").read_bytes())
    assert told["codes"] == WORKS | {"import": REFUSED}, said
    assert told["finite"]
    assert told["precision"].keys() == {"codec", "prior"}  # both stages were trained
    assert (folder / "again" / "été" / "photo ä 0.png").is_file()
    return told, said


def test_macos_without_affinity_and_onednn_reads_with_spawned_processes(tmp_path: Path) -> None:
    ran("macos", tmp_path, "data.memory=1e-9", "data.workers=1")


def test_windows_without_posix(tmp_path: Path) -> None:
    _, said = ran("windows", tmp_path)
    assert "cannot limit a process that reads one" in said


def test_arm_of_which_torch_tells_nothing(tmp_path: Path) -> None:
    ran("arm", tmp_path)


@pytest.mark.parametrize("capability", ["avx2", pytest.param("default", marks=pytest.mark.slow)])
def test_processors_without_bf16_train_in_fp32(capability: str, tmp_path: Path) -> None:
    limit = {"ONEDNN_MAX_CPU_ISA": "AVX2"} if capability == "avx2" else {}
    larger = (
        "network.widths=[32,64]",
        "prior.width=128",
        "prior.heads=4",
    )  # emulation costs so much that no clock misses it
    told, _ = ran("this", tmp_path, *larger, ATEN_CPU_CAPABILITY=capability, **limit)
    if capability == "avx2":
        assert told["precision"] == FULL


SCRIPT = """
import multiprocessing, sys, vitrail
if multiprocessing.parent_process() is None:
    multiprocessing.set_start_method("spawn")
vitrail.train("vqvae", data=sys.argv[1], out=sys.argv[2], budget="2 steps", show=False, settings={
    "data.memory": 1e-9, "data.workers": 1, "network.widths": [8], "prior": None, "training.precision": "fp32"})
"""


def test_a_script_that_trains_on_import_is_told_so_where_processes_are_spawned(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(catalog.ROOT.parent), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(script), "digits", str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=300)
    lines = done.stderr.splitlines()
    assert done.returncode == 1
    assert lines[-1].startswith(f"vitrail.errors.UsageError: {script} trains when it is imported")
