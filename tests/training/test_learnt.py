"""What is said of a run that has not learnt: by the side of methods that need no learning."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest
import torch

import vitrail
from vitrail.errors import NotLearnt
from vitrail.metrics import codebook
from vitrail.model.build import build_codec, build_prior, fitted
from vitrail.model.recipe import Recipe
from vitrail.recipes import vqvae
from vitrail.training import checkup, learnt
from vitrail.training.job import Finished
from vitrail.training.learnt import Stand, beside_the_frequencies
from vitrail.training.prior_step import CodeBatch
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 8, 8))
TINY = {"prior.width": 32, "prior.depth": 1, "prior.heads": 2, "network.widths": [16, 16], "bottleneck.size": 32}
FAST = {**TINY, "training.precision": "fp32", "training.threads": 1, "data.augment": 0}


def ended(steps: int = 1000, first: float = 2.0, last: float = 1.0, early: bool = False) -> Finished:
    return Finished(steps, 1.0, {}, torch.nn.Identity(), {}, 0, (first, last), early)


def recipe(**changes: object) -> Recipe:
    return vqvae.recipe().vary(**{key.replace(".", "__"): value for key, value in {**FAST, **changes}.items()})


def test_better_means_by_more_than_a_little() -> None:
    assert Stand(0.9, 1.0).better
    assert not Stand(0.999, 1.0).better
    assert not Stand(math.nan, 1.0).better
    assert Stand(-11.0, -10.0).better


def test_frequencies_cost_their_cross_entropy() -> None:
    made = recipe()
    prior = build_prior(made, SPEC, build_codec(made, SPEC))
    assert prior is not None
    codes = torch.randint(8, (400, 1, *prior.spec.grid), generator=torch.Generator().manual_seed(0))
    held = CodeBatch(codes[:100], torch.full((100,), -1))
    stand = beside_the_frequencies(prior.eval(), codes, held)
    assert stand.simple == pytest.approx(3.0, abs=0.05)  # 8 codes, evenly
    assert stand.model == pytest.approx(math.log2(prior.spec.size))  # an untrained prior says nothing
    assert codebook.count(codes, prior.spec.size).sum() == codes.numel()


def test_a_prior_that_knows_no_more_than_frequencies_is_found_with_the_cause() -> None:
    made = recipe(**{"training.prior.lr": 1e-8})
    prior = build_prior(made, SPEC, build_codec(made, SPEC))
    assert prior is not None
    codes = torch.randint(8, (400, 1, *prior.spec.grid))
    held = CodeBatch(codes[:100], torch.full((100,), -1))
    [found] = learnt.prior_findings(made, prior.eval(), ended(), codes, held)
    assert found.name == "no-better-than-frequencies"
    assert "training.prior.lr=1e-08 is far below the recipe's own" in str(found)
    assert found.fixes == ("training.prior.lr=0.003",)
    [memorised] = learnt.prior_findings(recipe(), prior, ended(early=True), codes, held)
    assert "by heart" in str(memorised)
    [short, _] = learnt.prior_findings(recipe(), prior, ended(steps=1), codes, held)
    assert short.name == "few-steps"
    assert "1 step;" in str(short)


def test_a_loss_that_never_fell_is_found() -> None:
    made = fitted(vqvae.recipe().vary(bottleneck="none", prior="flow"), SPEC)
    prior = build_prior(made, SPEC, build_codec(made, SPEC))
    assert prior is not None
    held = CodeBatch(torch.zeros(1, *prior.spec.shape), torch.zeros(1))
    assert not learnt.prior_findings(made, prior, ended(), None, held)
    [found] = learnt.prior_findings(made, prior, ended(first=2.0, last=1.99), None, held)
    assert found.name == "nothing-gained"


def test_a_run_that_has_learnt_is_told_nothing_and_a_crippled_one_what_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = {**FAST, "training.steps": 500, "training.share": 0.6}
    vitrail.train("vqvae", data="digits", out=tmp_path / "good", settings=good, show=False)
    assert not [each for each in checkup.read(tmp_path / "good") if each.name in learnt.NAMES]
    with caplog.at_level(logging.WARNING):
        bad = {**FAST, "training.steps": 120, "training.prior.lr": 1e-8, "training.codec.lr": 1e-8}
        vitrail.train("vqvae", data="digits", out=tmp_path / "bad", settings=bad, show=False)
    names = [each.name for each in checkup.read(tmp_path / "bad")]
    assert "no-better-than-the-mean" in names
    page = (tmp_path / "bad" / "report.html").read_text()
    assert 0 < page.index("<h2>Findings</h2>") < page.index("In numbers")


def test_the_command_fails_where_that_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from vitrail.cli._refusal import run

    settings = [word for key, value in FAST.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    words = ["train", "vqvae", "--data", "digits", "--out", str(tmp_path / "run"), "--budget", "4 steps", *settings]
    assert run(words) == 0
    capsys.readouterr()
    assert run([*words, "--require-learnt"]) == NotLearnt.exit_code
    assert "has not learnt" in capsys.readouterr().err.splitlines()[-1]


def test_a_dry_run_tells_what_a_budget_buys_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitrail.cli._refusal import run

    monkeypatch.chdir(tmp_path)
    settings = [word for key, value in FAST.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    words = ["train", "vqvae", "--data", "digits", "--budget", "64 steps", *settings, "--dry-run", "--json"]
    words += ["--set", "training.share=0.5"]
    assert run(words) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [(each["stage"], each["images"]) for each in stages] == [("codec", 32 * 32), ("prior", 32 * 64)]
    assert all(each["seconds"] == pytest.approx(32 * each["step_seconds"]) for each in stages)
    assert not any(tmp_path.iterdir())
