"""vitrail average: models of any width from a run's snapshots, beside it or in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vitrail import catalog
from vitrail.model import folder
from vitrail.training import averages, run

Vitrail = Callable[..., Any]  # the fixture of conftest.py

SMALL = {
    "network__widths": (8, 16),
    "bottleneck__size": 16,
    "bottleneck__channels": 4,
    "prior__width": 16,
    "prior__depth": 1,
    "prior__heads": 2,
    "training__budget": "40 steps",
    "training__threads": 1,
    "training__precision": "fp32",
    "training__prior__posthoc": True,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose prior was trained with snapshots."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    run.train(catalog.find("recipes", "vqvae").recipe().vary(**SMALL), "digits", out)
    return out


def test_it_writes_a_model_beside_the_run(vitrail: Vitrail, trained: Path, tmp_path: Path) -> None:
    before = folder.load(trained)
    ran = vitrail("average", trained, "--width", 0.05, "--out", tmp_path / "made", "--json")
    assert ran.code == 0, ran.err
    assert ran.facts["stage"] == "prior"
    assert ran.facts["snapshots"] == 16
    assert ran.facts["missed"] < 1e-6
    made = folder.load(tmp_path / "made")
    assert made.fingerprint == ran.facts["fingerprint"] != before.fingerprint == folder.load(trained).fingerprint
    last = load_file(averages.snapshots(trained / "averages", "prior")[-1].path)
    assert before.prior is not None
    assert made.prior is not None
    for name, weight in made.prior.named_parameters():
        assert torch.allclose(weight, last[f"0.05/prior.{name}"].float(), atol=1e-6)
    for name, tensor in made.codec.state_dict().items():
        assert torch.equal(tensor, before.codec.state_dict()[name])
    assert "width 0.05" in (tmp_path / "made" / "README.md").read_text()


def test_it_tells_before_it_replaces(vitrail: Vitrail, trained: Path) -> None:
    before = folder.load(trained)
    (trained / "model" / "notes.txt").write_text("mine")
    told = vitrail("average", trained, "--width", 0.07)
    assert "profile is missed by 0." in told.out
    assert "nothing is written" in told.out
    assert folder.load(trained).fingerprint == before.fingerprint
    ran = vitrail("average", trained / "model", "--width", 0.07, "--store", "--json")
    assert ran.code == 0, ran.err
    assert folder.load(trained).fingerprint == ran.facts["fingerprint"] != before.fingerprint
    assert (trained / "model" / "notes.txt").read_text() == "mine"
    assert vitrail("sample", trained, "-n", 2, "--out", trained / "dreams").code == 0


def test_what_it_refuses(vitrail: Vitrail, trained: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    ran = vitrail("average", trained, "--width", 0.4, "--store", "--out", tmp_path / "there")
    assert ran.code == 2
    assert "between 0 and 0.289" in ran.err
    assert "is there already" in ran.err
    ran = vitrail("average", trained, "--store", "--out", tmp_path / "new")
    assert (ran.code, "not both" in ran.err) == (2, True)
    ran = vitrail("average", model)
    assert (ran.code, "is no run folder" in ran.err) == (2, True)


def test_a_run_without_snapshots_and_one_whose_prior_was_fitted(vitrail: Vitrail, tmp_path: Path) -> None:
    small = {name: value for name, value in SMALL.items() if "prior" not in name} | {"training__budget": "1 steps"}
    run.train(catalog.find("recipes", "vqvae").recipe().vary(**small, prior=None), "digits", tmp_path / "plain")
    ran = vitrail("average", tmp_path / "plain")
    assert (ran.code, "training.codec.posthoc=true" in ran.err) == (2, True)
    short = {name: value for name, value in small.items() if "bottleneck" not in name}
    run.train(
        catalog.find("recipes", "autoencoder").recipe().vary(**short, prior="mixture"), "digits", tmp_path / "mix"
    )
    ran = vitrail("average", tmp_path / "mix")
    assert (ran.code, "fitted to the codec" in ran.err) == (2, True)
