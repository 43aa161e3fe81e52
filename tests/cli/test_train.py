"""Training from the command line, end to end on a handful of steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from vitrail.cli import run

Vitrail = Callable[..., Any]  # the fixture of conftest.py

SMALL = (
    "bottleneck.size=16",
    "network.widths=[8,16]",
    "prior.width=16",
    "prior.depth=1",
    "prior.heads=2",
    "training.threads=1",
    "training.precision=fp32",
)
SETTINGS = [word for setting in SMALL for word in ("--set", setting)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    assert run(["train", "vqvae", "--data", "digits", "--out", str(out), "--budget", "6 steps", *SETTINGS]) == 0
    return out


def test_the_same_command_again_is_done_at_once_and_says_what_to_look_at(vitrail: Vitrail, trained: Path) -> None:
    weights = (trained / "model" / "codec.safetensors").read_bytes()
    ran = vitrail("train", "vqvae", "--data", "digits", "--out", trained, "--budget", "6 steps", *SETTINGS, "--json")
    assert ran.code == 0, ran.err
    assert (trained / "model" / "codec.safetensors").read_bytes() == weights
    assert Path(ran.facts["model"]) == trained / "model"
    assert json.loads((trained / "evaluation.json").read_text())["scores"][0]["metric"] == "psnr"


def test_a_run_inside_its_data_resumes_whatever_was_written_into_it(
    vitrail: Vitrail, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures)
    command = ("train", "vqvae", "--data", ".", "--out", "run", "--budget", "2 steps", "--set", "data.heldout=0.3")
    assert vitrail(*command, *SETTINGS).code == 0
    assert vitrail("sample", "run", "-n", 2, "--out", "run/drawn").code == 0
    assert vitrail("codebook", "run").code == 0
    assert any((pictures / "run" / "samples").glob("*.png"))
    again = vitrail(*command, *SETTINGS)
    assert again.code == 0, again.err


def test_another_recipe_is_refused_in_the_same_folder(vitrail: Vitrail, trained: Path) -> None:
    ran = vitrail("train", "vqvae", "--data", "digits", "--out", trained, "--budget", "7 steps", *SETTINGS)
    assert ran.code == 2
    assert "training.budget" in ran.err


@pytest.mark.parametrize("name", [(), ("vqvae",)])
def test_a_runs_recipe_is_a_config(vitrail: Vitrail, trained: Path, tmp_path: Path, name: tuple[str, ...]) -> None:
    printed = json.loads((trained / "recipe.json").read_text())["recipe"]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(printed))
    for config in (trained / "recipe.json", tmp_path / "recipe.yaml"):
        ran = vitrail("train", *name, "--config", config, "--data", "digits", "--out", trained, "--json")
        assert ran.code == 0, ran.err  # the same recipe, or the folder would be refused


def test_a_run_begins_with_the_weights_of_another(vitrail: Vitrail, trained: Path, tmp_path: Path) -> None:
    words = ("--from", trained, "--set", "bottleneck=fsq", "--data", "digits", "--out", tmp_path / "fsq", "--json")
    ran = vitrail("train", *words)
    assert ran.code == 0, ran.err
    printed = json.loads((tmp_path / "fsq" / "recipe.json").read_text())
    assert printed["recipe"]["bottleneck"]["name"] == "fsq"
    assert "commitment" not in printed["recipe"]["weights"]
    assert printed["recipe"]["network"]["widths"] == [8, 16]
    again = vitrail("train", *words)
    assert (again.code, again.facts["fingerprint"]) == (0, ran.facts["fingerprint"])
    other = vitrail("train", "--from", tmp_path / "nowhere", "--data", "digits", "--out", tmp_path / "x")
    assert other.code == 4
    assert "no such folder" in other.err


def test_the_run_knows_its_data(vitrail: Vitrail, trained: Path) -> None:
    ran = vitrail("evaluate", trained, "--limit", 10, "--json")
    assert ran.code == 0, ran.err
    assert ran.facts["data"] == "digits"
    assert Path(ran.facts["out"]) == trained / "evaluation.json"


def test_info_tells_how_far_training_is(vitrail: Vitrail, trained: Path) -> None:
    facts = vitrail("info", trained, "--json").facts
    assert facts["status"]["state"] == "finished"
    assert facts["data"]["source"] == "digits"
    assert "finished" in vitrail("info", trained).out


def test_only_the_first_process_speaks(vitrail: Vitrail, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert vitrail("info", trained).out == ""
    refused = vitrail("info", trained / "nowhere")
    assert (refused.code, refused.err) == (4, "")


def test_a_feature_net_is_trained_described_and_used(vitrail: Vitrail, trained: Path, tmp_path: Path) -> None:
    net = tmp_path / "net"
    made = vitrail("features", "train", "--data", "digits", "--out", net, "--budget", "5 steps", "--json")
    assert made.code == 0, made.err
    assert vitrail("features", "info", net, "--json").facts["sha256"] == made.facts["sha256"]
    ran = vitrail("evaluate", trained, "--features", net, "--samples", 20, "--limit", 30, "--guidance", 1.5, "--json")
    assert ran.code == 0, ran.err
    scores = {score["metric"]: score for score in ran.facts["scores"]}
    assert {
        "frechet",
        "kid",
        "precision",
        "reconstruction_frechet",
        "recognised",
        "classifier_accuracy",
    } <= scores.keys()
    assert scores["frechet"]["features_sha256"] == made.facts["sha256"]
    assert scores["recognised"]["model"]["guidance"] == 1.5


def test_a_generator_trains_samples_and_says_what_it_cannot_do(vitrail: Vitrail, tmp_path: Path) -> None:
    small = ("network.widths=[8,8]", "discriminator.width=8", "bottleneck.channels=4", "training.threads=1")
    settings = [word for setting in (*small, "training.precision=fp32") for word in ("--set", setting)]
    out = tmp_path / "gan"
    ran = vitrail("train", "gan", "--data", "digits", "--out", out, "--budget", "4 steps", *settings)
    assert ran.code == 0, ran.err
    assert vitrail("sample", out, "-n", "2", "--out", tmp_path / "drawn").code == 0
    ran = vitrail("evaluate", out)
    assert (ran.code, "name a feature net with --features" in ran.err) == (2, True)
    ran = vitrail("encode", out, tmp_path / "drawn", "--out", tmp_path / "codes.safetensors")
    assert (ran.code, "has no encoder" in ran.err) == (2, True)


def test_a_model_over_the_data_itself_has_no_reconstructions_and_is_told_what_to_do_next(
    vitrail: Vitrail, tmp_path: Path
) -> None:
    small = ("denoiser.width=16", "denoiser.blocks=1", "training.threads=1", "training.precision=fp32")
    settings = [word for setting in small for word in ("--set", setting)]
    out = tmp_path / "flow"
    ran = vitrail("train", "flow", "--data", "digits", "--out", out, "--budget", "2 steps", *settings)
    assert ran.code == 0, ran.err
    assert "psnr" not in ran.out
    assert f"next      vitrail sample {out} --out {out / 'drawn'}" in ran.out
    assert f"vitrail evaluate {out} --features" in ran.out
    ran = vitrail("evaluate", out, "--limit", 10)
    assert ran.code == 0, ran.err
    assert "copies" in ran.out
    assert "--likelihood 100 tells it" in ran.out
    shown = vitrail("info", out).out
    assert any(line.startswith("drawn with") and "steps=" in line for line in shown.splitlines())


def test_a_run_that_holds_nothing_out_says_that_there_is_nothing_to_judge_by(vitrail: Vitrail, tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8))
    words = ["train", "vqvae", "--data", tmp_path / "grey.npy", "--out", tmp_path / "run", "--budget", "4 steps"]
    words += [*SETTINGS, "--set", "data.heldout=0"]
    told = vitrail(*words)
    assert told.code == 0, told.err
    assert "nothing is held out" in told.out
    facts = vitrail(*words, "--json").facts
    assert facts["scores"] == []
    assert facts["evaluation"] is None
    assert "nothing to judge by" in facts["notes"][0]
    for command in ("evaluate", "codebook"):
        refused = vitrail(command, tmp_path / "run")
        assert refused.code == 3
        assert "--part train" in refused.err
        assert vitrail(command, tmp_path / "run", "--part", "train").code == 0
