"""The doctor in a run folder: each finding once, also after a resume, and only where something is wrong."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from vitrail import catalog
from vitrail.model.build import build_codec
from vitrail.model.recipe import Recipe, override
from vitrail.training import budget, run
from vitrail.training.checkup import FILE, Checkup, read
from vitrail.training.codec_step import CodecStep
from vitrail.types import DataSpec

BRIEF: dict[str, Any] = {
    "network.widths": (16, 32),
    "training.steps": 120,
    "training.precision": "fp32",
    "training.threads": 1,
    "training.log": 10,
    "data.workers": 0,
    "prior": None,
}


def recipe(name: str = "vqvae", **changes: Any) -> Recipe:
    made: Recipe = catalog.find("recipes", name).recipe()
    return override(made, {**BRIEF, **{key.replace("__", "."): value for key, value in changes.items()}})


def checkup(folder: Path, made: Recipe) -> Checkup:
    codec = build_codec(made, DataSpec(shape=(1, 8, 8)))
    return Checkup(folder, made, codec, budget.read("100 steps"), 1000)


def line(step: int, commitment: float | None = 0.1, **stats: float) -> dict[str, Any]:
    terms = {"reconstruction": 0.1, "commitment": commitment}
    return {
        "stage": "codec",
        "step": step,
        "images": 64 * step,
        "stats": stats,
        "terms": terms,
        "time": {"seconds": 1.0},
    }


def test_a_finding_is_told_once_per_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watching = checkup(tmp_path, recipe())
    for step in (10, 50, 60):
        watching.hear(line(step, usage=0.05, perplexity=4.0, window=1e6))
    checkup(tmp_path, recipe()).hear(line(70, usage=0.05, perplexity=4.0, window=1e6))  # resumed
    (found,) = read(tmp_path)
    assert (found.name, found.step) == ("few-codes", 50)
    assert caplog.messages == [str(found)]


def test_growth_is_measured_from_the_end_of_the_warm_up_also_after_a_resume(tmp_path: Path) -> None:
    early = [line(10, 0.001), line(30, 0.1), line(40, 0.2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in early))
    watching = checkup(tmp_path, recipe())
    watching.hear(line(50, 0.9))
    assert read(tmp_path) == ()
    watching.hear(line(60, None))
    watching.hear(line(60, float("nan")))
    watching.hear(line(70, 1.1))
    assert [each.name for each in read(tmp_path)] == ["outputs-run-away"]


def test_the_codes_of_the_training_set_show_the_rest(tmp_path: Path) -> None:
    made = recipe(bottleneck="fsq", bottleneck__levels=(3, 3))
    codec = build_codec(made, DataSpec(shape=(1, 8, 8)))
    watching = checkup(tmp_path, made)
    watching.hear(line(90, usage=1.0, perplexity=9.0, window=1e6))
    rim = codec.bottleneck.codebook(0).abs().amin(1) > 0  # the four corners
    codes = torch.zeros(64, 1, *codec.latent_spec().grid, dtype=torch.int64) + int(rim.nonzero()[0])
    codes[:, 0, 0, 0] = rim.nonzero()[torch.arange(64) % int(rim.sum()), 0]
    watching.look(codec, codes)
    assert {each.name for each in read(tmp_path)} == {"one-position", "only-the-rim"}


def test_a_half_written_finding_is_left_out(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"name": "few-co')
    assert read(tmp_path) == ()


def test_a_short_healthy_run_is_told_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run.train(recipe(), "digits", tmp_path / "run")
    assert read(tmp_path / "run") == ()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    told = json.loads((tmp_path / "run" / "codebook" / "codebook.json").read_text())
    assert told["part"] == "train"
    assert told["levels"][0]["usage"] > 0.9
    lines = [json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["stats"]["window"] == 120 * 32 * 4
    assert lines[-1]["stats"]["usage"] > lines[-1]["stats"]["batch_usage"]


@pytest.mark.parametrize(
    ("name", "changes", "finding", "fix"),
    [
        (
            "vqvae",
            {"bottleneck__size": 512, "bottleneck__codebook": "gradient", "bottleneck__revive": 0},
            "few-codes",
            "bottleneck.revive=0.05",
        ),
        (
            "vqvae",
            {"bottleneck": "lfq", "bottleneck__size": 512, "weights__entropy": 0, "weights__evenness": 0},
            "few-codes",
            "weights.entropy=0.001",
        ),
        ("vae", {"weights__kl": 1000}, "posterior-collapse", "weights.kl=1"),
    ],
)
def test_a_collapsed_run_is_told_what_to_try(
    name: str, changes: dict[str, Any], finding: str, fix: str, tmp_path: Path
) -> None:
    run.train(recipe(name, **changes), "digits", tmp_path / "run")
    found, *_ = read(tmp_path / "run")
    assert (found.name, found.fixes[0]) == (finding, fix)


class PowerCut(Exception):
    """Not one of ours: nothing may catch it."""


def test_the_windows_numbers_are_the_same_after_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrail.training.window.LEAST", 600)  # tokens: the window is renewed every few steps
    monkeypatch.setattr("vitrail.training.window.PER_CODE", 1)
    changes = {"bottleneck__size": 64, "training__steps": 20, "training__log": 2, "training__checkpoint_steps": 3}
    made = recipe(**changes)
    run.train(made, "digits", tmp_path / "undisturbed")
    step, calls = CodecStep.after_step, iter(range(20))

    def cut_short(self: CodecStep) -> None:
        step(self)
        if next(calls) == 13:
            raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(CodecStep, "after_step", cut_short)
        with pytest.raises(PowerCut):
            run.train(made, "digits", tmp_path / "cut")
    run.train(made, "digits", tmp_path / "cut")
    curves = []
    for name in ("undisturbed", "cut"):
        lines = [json.loads(text) for text in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        curves.append([{key: value for key, value in each.items() if key != "time"} for each in lines])
    assert curves[0] == curves[1]
    assert len({each["stats"]["window"] for each in curves[0]}) > 3
