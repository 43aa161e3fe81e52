"""A run says whether its samples are copies: a picture, numbers, a finding, a section of the report, a line of `vitrail sample`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_parts
from vitrail.data.loader import unit
from vitrail.data.modalities import image
from vitrail.model.model import Model
from vitrail.model.recipe import override
from vitrail.training import checkup, copying
from vitrail.training.copying import FILE, FIXES, PICTURE, SAMPLES, look, read

SMALL = {"network.widths": [8, 16], "prior.width": 16, "prior.depth": 1, "prior.heads": 2, "bottleneck.size": 16}


@pytest.fixture(scope="module")
def parts() -> tuple[Dataset, Dataset]:
    return open_parts("digits", DataConfig())


@pytest.fixture
def model(parts: tuple[Dataset, Dataset]) -> Model:
    """Untrained, as every model here; one latent vector of a picture, and a fixed normal prior."""
    torch.manual_seed(0)
    return Model.build(catalog.find("recipes", "vae-dense").recipe(), parts[0].spec)


def drawing(model: Model, x: Tensor, patch: pytest.MonkeyPatch) -> Model:
    """A model that draws these pictures, after its codec."""
    patch.setattr(model, "sample", lambda n, **_: model.reconstruct(x[:n]))
    return model


def test_a_copier_is_told_so_once(
    model: Model,
    parts: tuple[Dataset, Dataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    copier = drawing(model, unit(parts[0].images(range(100, 100 + SAMPLES)).numpy()), monkeypatch)
    with caplog.at_level(logging.WARNING):
        look(copier, tmp_path, *parts)
        look(copier, tmp_path, *parts)
    assert len(caplog.records) == 1
    (finding,) = checkup.read(tmp_path)
    assert finding.name == "copies"
    assert "samples: 100% of 64 are copies of training pictures" in finding.said
    assert 0 < len(finding.fixes) <= 3
    assert set(finding.fixes) <= set(FIXES)
    told = read(tmp_path)
    assert told is not None
    assert told["finding"] == str(finding) == caplog.messages[0]
    near = {row["sample"]: row for row in told["nearest"]}
    assert [near[i]["training"] for i in range(SAMPLES)] == list(parts[0].keys[100 : 100 + SAMPLES])
    assert all(row["copy"] and row["distance"] < 1e-4 for row in told["nearest"])


def test_an_untrained_model_copies_nothing(model: Model, parts: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    look(model, tmp_path, *parts)
    told = read(tmp_path)
    assert told is not None
    assert told["finding"] is None
    assert checkup.read(tmp_path) == ()
    assert (told["training"], told["searched"]) == (len(parts[0]),) * 2
    for each in told["spaces"].values():
        assert (each["samples"]["n"], each["heldout"]["n"]) == (SAMPLES, 200)
        assert each["samples"]["copies"] < 0.1
        assert each["heldout"]["interval"][0] <= each["heldout"]["copies"] <= each["heldout"]["interval"][1]
    closeness = [row["closeness"] for row in told["nearest"]]
    assert closeness == sorted(closeness)


def test_the_picture_shows_each_sample_above_its_nearest_training_picture(
    model: Model, parts: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    look(model, tmp_path, *parts)
    sheet = torch.from_numpy(image.read(tmp_path / PICTURE))
    first: dict[str, Any] = json.loads((tmp_path / FILE).read_text())["nearest"][0]
    sample = model.sample(SAMPLES, seed=0)[first["sample"]]
    learnt = unit(parts[0].images([parts[0].keys.index(first["training"])]).numpy())[0]
    assert torch.equal(sheet[0:56:7, 0:56:7, 0], image.to_uint8(sample)[0])
    assert torch.equal(sheet[56:112:7, 0:56:7, 0], image.to_uint8(learnt)[0])
    assert int(sheet[112 : 112 + copying.LINE, :56].min()) < 100  # the distance, in black


def test_nothing_is_looked_for_without_a_prior_or_with_too_few_pictures(
    model: Model, parts: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(Model(model.recipe, model.spec, model.codec, None), tmp_path, *parts)
    monkeypatch.setattr(Dataset, "__len__", lambda self: 9)
    look(model, tmp_path, *parts)
    assert not list(tmp_path.iterdir())
    assert read(tmp_path) is None


def test_a_conditional_prior_is_given_hints_of_heldout_pictures(parts: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    recipe = override(catalog.find("recipes", "vqvae").recipe(), {**SMALL, "condition": "downscale"})
    look(Model.build(recipe, parts[0].spec), tmp_path, *parts)
    assert read(tmp_path) is not None
