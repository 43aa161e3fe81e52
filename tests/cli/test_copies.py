"""Copies of training pictures, as `evaluate` and `sample` tell of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitrail.data.modalities import image

Vitrail = Callable[..., Any]  # the fixture of conftest.py


@pytest.fixture
def run(vitrail: Vitrail, tmp_path: Path) -> Path:
    """A run over digits that has hardly begun to learn."""
    brief = ("--budget", "2 steps", "--set", "training.precision=fp32", "--set", "data.workers=0")
    ran = vitrail("train", "vae-dense", "--data", "digits", "--out", tmp_path / "run", *brief)
    assert ran.code == 0, ran.err
    return tmp_path / "run"


def test_evaluate_tells_of_copies_without_a_feature_net(vitrail: Vitrail, run: Path) -> None:
    ran = vitrail("evaluate", run, "--samples", 40, "--limit", 30, "--likelihood", 0, "--json")
    assert ran.code == 0, ran.err
    score = {each["metric"]: each for each in ran.facts["scores"]}
    assert score["copies"]["n_fake"] == 40
    assert score["copies"]["interval"][0] <= score["copies"]["value"] <= score["copies"]["interval"][1]
    assert {"copies_heldout", "nearest", "nearest_heldout", "copies_latent"} <= score.keys()
    assert image.read(run / "copies.png").std() > 0
    shown = vitrail("evaluate", run, "--samples", 40, "--limit", 30, "--likelihood", 0).out
    row = next(line for line in shown.splitlines() if line.startswith("copies_heldout"))
    assert "%" in row
    assert "expected" in row
    assert "copies heldout" in (run / "report.html").read_text(encoding="utf-8")
    plain = vitrail("evaluate", run, "--samples", 40, "--limit", 30, "--no-copies", "--json")
    assert "copies" not in {each["metric"] for each in plain.facts["scores"]}


def test_sample_repeats_what_training_found(
    vitrail: Vitrail, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = json.loads((run / "copies.json").read_text())
    (run / "copies.json").write_text(json.dumps({**told, "finding": None}))
    with caplog.at_level(logging.WARNING):
        assert vitrail("sample", run, "-n", 2, "--out", tmp_path / "quiet").code == 0
        assert caplog.messages == []
        (run / "copies.json").write_text(json.dumps({**told, "finding": "samples: 90% of 64 are copies"}))
        for path in (run, run / "model"):
            assert vitrail("sample", path, "-n", 2, "--out", tmp_path / "drawn", "--json").code == 0
    assert caplog.messages == ["samples: 90% of 64 are copies"] * 2
