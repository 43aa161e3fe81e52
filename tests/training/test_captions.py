"""A prior learns what captions say, from a folder or an array to a prompt."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch

from vitrail import catalog
from vitrail.data.captions import tokens
from vitrail.data.dataset import open_dataset
from vitrail.errors import DataError
from vitrail.model.recipe import Recipe, override
from vitrail.tasks.evaluate import evaluate
from vitrail.training import run

SHADES = {"dark": 40, "bright": 215}  # of flat pictures, by their caption
BRIEF: dict[str, Any] = {
    "denoiser": {"name": "dit", "width": 64, "depth": 2, "patch": 4},
    "training.precision": "fp32",
    "training.threads": 1,
    "training.prior.batch": 64,
    "training.prior.ema": 0.99,
    "training.prior.lr": 3e-3,
    "data.workers": 0,
    "data.captions": 8,
    "data.heldout": 0.1,
}


def flat(path: Path, count: int = 200) -> str:
    """Every tenth picture has no caption."""
    rng, words = np.random.default_rng(0), list(SHADES)
    which = rng.integers(0, 2, count)
    shades = np.array(list(SHADES.values()))[which] + rng.integers(-15, 16, count)
    images = np.broadcast_to(shades[:, None, None].astype(np.uint8), (count, 8, 8))
    np.savez(path, images=images, captions=np.array([words[w] if i % 10 else "" for i, w in enumerate(which)]))
    return str(path)


def recipe(name: str = "flow", **changes: Any) -> Recipe:
    made: Recipe = catalog.find("recipes", name).recipe()
    return override(made, {**BRIEF, **changes})


def test_the_prompt_decides_the_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, out = flat(tmp_path / "flat.npz"), tmp_path / "run"
    with caplog.at_level(logging.WARNING):
        made = run.train(recipe(**{"training.steps": 200}), source, out)
    data = open_dataset(source, made.recipe.data, "train")
    assert f"{data.uncaptioned} of {len(data)} training pictures have no caption" in caplog.text

    def shades(n: int, **given: Any) -> torch.Tensor:
        return 255 * made.sample(n, steps=10, **given).mean((1, 2, 3))

    assert shades(12, prompt="dark").max() < 110
    assert shades(12, prompt="bright").min() > 145
    guided = shades(2, prompt=["bright", "dark"], guidance=2.0)
    assert guided[0] > 145 > 110 > guided[1]
    either = shades(32)  # nothing said
    assert either.min() < 110
    assert either.max() > 145
    assert len(list((out / "samples").glob("prior_step_*.png"))) >= 1
    card = (out / "model" / "README.md").read_text()
    assert f"| captions | 8 bytes of each, {data.uncaptioned} pictures have none |" in card
    assert 'prompt="..."' in card
    assert "prompt=&quot;...&quot;" in (out / "report.html").read_text()


def test_captions_lie_beside_the_latents_and_a_run_resumes(tmp_path: Path) -> None:
    source, out, again = flat(tmp_path / "flat.npz"), tmp_path / "run", tmp_path / "again"
    brief = {"network.widths": (8, 8), "bottleneck.channels": 4, "training.steps": 8, "training.checkpoint_steps": 3}
    given = recipe("vae", prior="flow", **brief)
    made = run.train(given, source, out)
    data = open_dataset(source, made.recipe.data, "train")
    with safetensors.safe_open(out / "latents" / "train.safetensors", "pt") as held:
        assert torch.equal(held.get_tensor("text").long(), tokens(data.captions, 8))
    shutil.copytree(out, again)
    shutil.rmtree(again / "model")
    for path in sorted((again / "checkpoints").glob("prior_*"))[1:]:
        shutil.rmtree(path)
    assert run.train(given, source, again).fingerprint == made.fingerprint
    assert evaluate(made, data).scores  # reconstructions, and no captions needed for them


def test_asked_for_where_there_are_none_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="digits: no picture has a caption"):
        run.train(recipe(), "digits", tmp_path / "run")
    assert not (tmp_path / "run").exists()
