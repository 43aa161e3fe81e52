"""A cell in a process of its own: done, killed, stopped."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from vitrail import catalog, durable
from vitrail.model.recipe import override
from vitrail.studies import child
from vitrail.studies.child import Job
from vitrail.training.stopping import Stop


def job(folder: Path, budget: str) -> Job:
    tiny = {"network.widths": [8], "training.threads": 1, "training.precision": "fp32", "prior": None}
    recipe = override(catalog.find("recipes", "vqvae").recipe(), {**tiny, "training.budget": budget})
    return Job(recipe.printed(), "digits", str(folder), None)


def once_training(folder: Path, act: Callable[[], None]) -> None:
    """Act as soon as training has begun in a folder."""

    def watch() -> None:
        deadline = time.monotonic() + 60
        while not (folder / "status.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        act()

    threading.Thread(target=watch).start()


def test_it_trains_scores_and_tells(tmp_path: Path) -> None:
    outcome = child.run(job(tmp_path / "run", "2 steps"), Stop())
    assert (outcome.state, outcome.error, outcome.steps) == ("finished", "", 2)
    assert {score["metric"] for score in outcome.scores} >= {"psnr", "bits_per_pixel", "codebook_usage"}
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["scores"] == list(outcome.scores)


def test_scores_reach_the_sweep_where_the_cell_cannot_keep_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = durable.write_file

    def full(path: Path, content: bytes, through: bool = False) -> None:
        if path.name == "evaluation.json":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content, through)

    monkeypatch.setattr(durable, "write_file", full)
    outcome = child.guarded(job(tmp_path / "run", "2 steps"))
    assert (outcome.state, {score["metric"] for score in outcome.scores} >= {"psnr"}) == ("finished", True)
    assert any("evaluation.json is not written: No space left" in line for line in caplog.messages)


def test_a_stop_is_passed_on_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    folder, stop = tmp_path / "run", Stop()
    once_training(folder, lambda: stop.handle(signal.SIGTERM, None))
    outcome = child.run(job(folder, "1M steps"), stop)
    assert outcome.state == "interrupted"
    assert "stopped at step" in outcome.error
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"


def test_one_whose_parent_dies_stops_too(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    parent = (
        "import json, sys\nfrom vitrail.studies.child import Job, run\nfrom vitrail.training.stopping import Stop\n"
        "run(Job(**json.loads(sys.argv[1])), Stop())"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, json.dumps(asdict(job(folder, "1M steps")))])
    once_training(folder, process.kill)
    process.wait()
    deadline = time.monotonic() + 60
    while state(folder) != "interrupted" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state(folder) == "interrupted"


def state(folder: Path) -> str:
    """What a run says of itself."""
    return str(json.loads((folder / "status.json").read_text())["state"])


@pytest.mark.parametrize(
    ("code", "stopped", "state", "part"),
    [
        (-signal.SIGTERM, True, "interrupted", "before the first step"),
        (-signal.SIGKILL, False, "failed", "memory ran out"),
        (-signal.SIGSEGV, False, "failed", "by SIGSEGV"),
        (1, False, "failed", "with exit code 1"),
    ],
)
def test_one_that_dies_without_a_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, stopped: bool, state: str, part: str
) -> None:
    fate = f"import os; os.kill(os.getpid(), {-code})" if code < 0 else f"raise SystemExit({code})"
    monkeypatch.setattr(child, "command", lambda job: [sys.executable, "-c", fate])
    stop = Stop()
    stop.requested = stopped
    outcome = child.run(job(tmp_path, "1 steps"), stop)
    assert outcome.state == state
    assert part in outcome.error
