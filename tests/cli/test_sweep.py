"""Sweeps from the command line; what a cell does is stood in for."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vitrail.studies import sweep as study
from vitrail.studies.child import Job, Outcome
from vitrail.training.stopping import Stop

Vitrail = Callable[..., Any]  # the fixture of conftest.py

GRID = ("--over", "bottleneck.size=16,64", "bottleneck.decay=0.9,0.99", "--budget", "3 steps")


def cell(job: Job, stop: Stop) -> Outcome:
    """A cell that is done at once, or fails for codebooks of 64 with a slow average."""
    bottleneck = job.recipe["bottleneck"]
    if (bottleneck.get("size"), bottleneck.get("decay")) == (64, 0.99):
        return Outcome("failed", "the codec stage has no finite loss")
    score = {"metric": "psnr", "value": 21.5, "n_real": 10, "features": None, "features_sha256": None}
    return Outcome("finished", "", 3, 1.0, (score,))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "sweep", partial(study.sweep, work=cell))
    monkeypatch.setattr(study, "picture", lambda sweep: b"picture")


def test_values_may_follow_one_flag_or_several(vitrail: Vitrail, tmp_path: Path) -> None:
    one = vitrail("sweep", "vqvae", "--data", "digits", *GRID, "--out", tmp_path / "one", "--json")
    apart = ("--over", "bottleneck.size=16,64", "--over", "bottleneck.decay=0.9,0.99", "--set", "training.steps=3")
    two = vitrail("sweep", "vqvae", "--data", "digits", *apart, "--out", tmp_path / "two", "--json")
    assert one.code == two.code == 1
    settings = [each["settings"] for each in one.facts["cells"]]
    assert len(settings) == 4
    assert settings == [each["settings"] for each in two.facts["cells"]]
    assert one.facts["failed"] == 1


def test_the_table_is_printed_and_a_failure_is_exit_code_1_and_a_line(vitrail: Vitrail, tmp_path: Path) -> None:
    words = ("sweep", "vqvae", "--data", "digits", *GRID, "--out", tmp_path / "s")
    ran = vitrail(*words)
    assert ran.code == 1
    assert "cell 4 of 4: bottleneck.size=64 bottleneck.decay=0.99 seed=0" in ran.err
    assert "failed: the codec stage has no finite loss" in ran.out
    assert ran.out.splitlines()[-1].startswith("1 of 4 cells failed (bottleneck.size=64 bottleneck.decay=0.99 seed=0: ")
    for name in ("table.md", "rate-distortion.png", "sweep.json"):
        assert (tmp_path / "s" / name).exists()
        assert str(tmp_path / "s" / name) in ran.out
    assert "cell 1" not in vitrail(*words).err  # the failed one only
    fine = vitrail("sweep", "vqvae", "--data", "digits", "--over", "bottleneck.size=16", "--out", tmp_path / "t")
    assert fine.code == 0, fine.err
    assert "failed" not in fine.out


def test_every_mistake_is_reported_before_the_first_cell(vitrail: Vitrail, tmp_path: Path) -> None:
    over = (
        "--over",
        "bottleneck.sise=1,2",
        "bottleneck=vq,vqq",
        "--seeds",
        2,
        "--set",
        "nonsense",
        "--set",
        "data.fit=x",
    )
    ran = vitrail("sweep", "vqvae", *over, "--data", tmp_path / "nowhere", "--budget", "soon")
    assert ran.code == 2
    lines = [line for line in ran.err.splitlines() if line.startswith("vitrail: ")]
    for part in ("sise", "'vqq'", "nonsense", "data.fit", "'soon' is no budget", "no data at", "--out is missing"):
        assert sum(part in line for line in lines) == 1, part
    assert len(lines) == 7


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("vqvae", "photos/", "--over", "bottleneck.size=1"), "'photos/' is neither an option nor KEY=VALUE"),
        (("vqvae",), "--over is missing"),
        (("vqvae", "--over", "bottleneck.size"), "--over wants KEY=VALUE,VALUE..., got 'bottleneck.size'"),
        (("vqva", "--over", "bottleneck.size=1"), "did you mean 'vqvae'?"),
        (("vqvae", "--over", "bottleneck.size=1", "--features", "nowhere"), "nowhere"),
    ],
)
def test_mistakes(vitrail: Vitrail, tmp_path: Path, words: tuple[str, ...], part: str) -> None:
    ran = vitrail("sweep", *words, "--data", "digits", "--out", tmp_path / "s")
    assert ran.code in (2, 4)
    lines = [line for line in ran.err.splitlines() if line.startswith("vitrail: ")]
    assert len(lines) == 1, ran.err
    assert part in lines[0]


def test_the_same_folder_for_another_budget_is_refused(vitrail: Vitrail, tmp_path: Path) -> None:
    words = ("sweep", "vqvae", "--data", "digits", "--over", "bottleneck.size=16", "--out", tmp_path / "s", "--budget")
    assert vitrail(*words, "3 steps").code == 0
    ran = vitrail(*words, "4 steps")
    assert ran.code == 2
    assert "training.budget 3 steps, now 4 steps" in ran.err


def test_which_bottleneck_and_how_large(vitrail: Vitrail, tmp_path: Path) -> None:
    over = ("--over", "bottleneck.size=128,512,2048,8192", "bottleneck=vq,fsq,lfq", "--budget", "2min")
    ran = vitrail("sweep", "vqvae", "--data", "digits", *over, "--out", tmp_path / "s", "--json")
    assert ran.code == 0, ran.err
    cells = json.loads((tmp_path / "s" / "sweep.json").read_text())["cells"]
    assert [each["state"] for each in cells] == ["finished"] * 12
