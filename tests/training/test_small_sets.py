"""Sets of a handful of pictures train, whether some are held out or none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail import catalog
from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_dataset, open_parts
from vitrail.errors import DataError
from vitrail.model.recipe import Recipe, override
from vitrail.tasks.codebook import codebook
from vitrail.tasks.evaluate import evaluate
from vitrail.training import run

PARTS: dict[str, dict[str, Any]] = {
    "vqvae": {"bottleneck.size": 16, "prior.width": 16, "prior.depth": 1, "prior.heads": 2},
    "autoencoder": {},
    "latent-diffusion": {"denoiser": "mlp", "denoiser.width": 16},
    "gan": {"network.widths": (8, 8), "discriminator.width": 8},
}


def tiny(name: str, **changes: Any) -> Recipe:
    brief = {"network.widths": (8, 8), "training.steps": 4, "training.precision": "fp32", "training.threads": 1}
    batches = {"training.codec.batch": 4, "training.prior.batch": 4, "data.workers": 0}
    made: Recipe = catalog.find("recipes", name).recipe()
    return override(made, {**brief, **batches, **PARTS[name], **changes})


def photos(folder: Path, count: int) -> str:
    """Pictures named as a camera names them."""
    noise = np.random.default_rng(0)
    folder.mkdir()
    for i in range(count):
        pixels = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"IMG_{2000 + i}.png")
    return str(folder)


@pytest.mark.parametrize("memory", [4.0, 1e-9])
@pytest.mark.parametrize(("share", "least"), [(0.05, 1), (0.0, 0)])
@pytest.mark.parametrize("count", [2, 3, 5, 20, 40, 100])
def test_both_parts_open(count: int, share: float, least: int, memory: float, tmp_path: Path) -> None:
    source, config = photos(tmp_path / "photos", count), DataConfig(heldout=share, memory=memory)
    train, heldout = open_parts(source, config)
    assert len(train) + len(heldout) == count
    assert least <= len(heldout) <= (count - 1 if share else 0)
    assert heldout.images(range(len(heldout))).shape == (len(heldout), 3, 8, 8)
    for part, whole in (("train", train), ("heldout", heldout)):
        assert open_dataset(source, config, part).fingerprint == whole.fingerprint


@pytest.mark.parametrize(("count", "share"), [(1, 0.0), (2, 0.05), (5, 0.0), (20, 0.05)])
@pytest.mark.parametrize("name", PARTS)
def test_a_small_set_is_trained_on(name: str, count: int, share: float, tmp_path: Path) -> None:
    source = photos(tmp_path / "photos", count)
    model = run.train(tiny(name, **{"data.heldout": share}), source, tmp_path / "run")
    assert model.sample(2).isfinite().all()
    assert [*(tmp_path / "run" / "samples").glob("*.png")]
    assert (tmp_path / "run" / "report.html").exists()
    told = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    looked = any("heldout" in line for line in told)
    assert looked == (share > 0 and name != "gan")


def test_one_picture_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.heldout=0"):
        run.train(tiny("vqvae"), photos(tmp_path / "photos", 1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_held_out_pictures_there_is_nothing_to_judge_by(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos", 3)
    model = run.train(tiny("vqvae", **{"data.heldout": 0.0}), source, tmp_path / "run")
    heldout = open_dataset(source, model.recipe.data, "heldout", shape=(3, 8, 8))
    for task in (evaluate, codebook):
        with pytest.raises(DataError, match="nothing to judge by"):
            task(model, heldout)
    train = open_dataset(source, model.recipe.data, "train", shape=(3, 8, 8))
    assert evaluate(model, train, samples=0)["psnr"] > 0
