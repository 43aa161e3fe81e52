"""Beginning with another model's weights: what is taken, what stays fresh, and that it pays."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from vitrail import catalog
from vitrail.data.dataset import open_parts
from vitrail.errors import ModelError, UsageError
from vitrail.model.build import build_codec, build_prior
from vitrail.model.folder import recipe_of
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe, override, successor
from vitrail.training import run
from vitrail.training.beginning import take_over
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 16, 16))
BRIEF: dict[str, Any] = {
    "network.widths": [16, 16],
    "prior": None,
    "training.precision": "fp32",
    "training.threads": 1,
    "training.codec.batch": 32,
    "training.preview": 1e9,
    "data.workers": 0,
}


def made(name: str = "autoencoder", **changes: Any) -> Recipe:
    return override(catalog.find("recipes", name).recipe(), {**BRIEF, **changes})


def pair(before: Recipe, after: Recipe, spec: DataSpec = SPEC) -> tuple[Model, Model, list[str]]:
    """An old model, a new one that took over from it, and what stayed fresh."""
    old = Model.build(before, spec)
    for weight in old.codec.parameters():
        weight.data += 1  # so that nothing fresh equals it
    codec = build_codec(after, spec)
    prior = build_prior(after, spec, codec)
    fresh = take_over(old, codec, prior)
    return old, Model(after, spec, codec, prior), fresh


def test_the_same_recipe_takes_everything_but_the_statistics_of_latents() -> None:
    old = Model.build(made("vqvae"), SPEC)
    old.codec.mean.fill_(5)
    codec = build_codec(made("vqvae", **{"training.seed": 1}), SPEC)
    assert take_over(old, codec, None) == []
    for name, tensor in codec.state_dict().items():
        assert torch.equal(tensor, old.codec.state_dict()[name]) or name == "mean"
    assert torch.equal(codec.mean, torch.zeros_like(codec.mean))


def test_another_bottleneck_keeps_encoder_projection_and_decoder() -> None:
    before = made(**{"bottleneck.channels": 6})
    old, new, fresh = pair(before, successor(before, {"bottleneck": "vq", "bottleneck.size": 8}))
    assert all(name.startswith("bottleneck") for name in fresh)
    assert torch.equal(new.codec.bottleneck.project.weight, old.codec.bottleneck.project.weight)
    for part in ("encoder", "decoder"):
        tensors = getattr(new.codec, part).state_dict()
        assert all(torch.equal(tensor, getattr(old.codec, part).state_dict()[name]) for name, tensor in tensors.items())


def test_a_gaussian_passes_its_means_on_and_gets_them() -> None:
    gaussian, plain = made(bottleneck="gaussian"), made(bottleneck="none")
    old, new, fresh = pair(gaussian, successor(gaussian, {"bottleneck": "none"}))
    assert fresh == []
    assert torch.equal(new.codec.bottleneck.project.weight, old.codec.bottleneck.project.weight[:16])
    old, new, fresh = pair(plain, successor(plain, {"bottleneck": "gaussian"}))
    assert fresh == ["bottleneck"]
    assert torch.equal(new.codec.bottleneck.project.weight[:16], old.codec.bottleneck.project.weight)


def test_channels_that_are_given_are_not_overruled() -> None:
    before = made(**{"bottleneck.channels": 6})
    for changes in ({"bottleneck.channels": 3}, {"bottleneck": {"name": "vq", "channels": 3}}):
        after = successor(before, {"bottleneck": "vq", **changes})
        assert after.bottleneck.printed()["channels"] == 3
        assert "decoder.stem" in pair(before, after)[2]
    assert successor(before, {"bottleneck": "vq", "bottleneck.size": 64}).bottleneck.printed()["channels"] == 6


def test_a_codebook_of_another_size_starts_anew_with_its_statistics() -> None:
    before = made("vqvae", **{"bottleneck.size": 8})
    _, new, fresh = pair(before, made("vqvae", **{"bottleneck.size": 16}))
    assert all(place.startswith("bottleneck.") for place in fresh)
    [steps] = [value for name, value in new.codec.state_dict().items() if name.endswith("steps")]
    assert steps == 0


def test_other_pictures_keep_what_does_not_depend_on_their_channels() -> None:
    old = Model.build(made(), SPEC)
    fresh = take_over(old, build_codec(made(), DataSpec(shape=(3, 16, 16))), None)
    assert "encoder" not in fresh
    assert "decoder" not in fresh
    assert fresh


def test_a_model_that_has_nothing_to_give_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    run.train(made(**{"training.steps": 1}), "digits", tmp_path / "first")
    mlp = override(catalog.find("recipes", "vae-dense").recipe(), {"training.steps": 1})
    with pytest.raises(UsageError, match="nothing of network=conv of the old model"):
        run.train(mlp, "digits", tmp_path / "second", start=tmp_path / "first")
    assert not (tmp_path / "second").exists()
    with pytest.raises(ModelError, match="no such folder"):
        run.train(mlp, "digits", tmp_path / "second", start=tmp_path / "nowhere")


def test_a_prior_over_the_data_itself_goes_on_without_its_snapshot() -> None:
    recipe = override(catalog.find("recipes", "flow").recipe(), {"denoiser.width": 16, "prior.guide": 0.3})
    old, new = Model.build(recipe, SPEC), Model.build(override(recipe, {"training.seed": 1}), SPEC)
    assert old.prior is not None
    assert new.prior is not None
    with torch.no_grad():
        for weight in old.prior.parameters():
            weight += 1
    old.prior.at(0.5)
    assert take_over(old, new.codec, new.prior) == []
    held, passed = old.prior.state_dict(), new.prior.state_dict()
    assert all(torch.equal(held[name], passed[name]) for name in held if name.startswith("net."))
    assert bool(held["taken"])
    assert not bool(passed["taken"])


@pytest.fixture(scope="module")
def continuous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("continuous") / "run"
    run.train(made(**{"training.steps": 150, "bottleneck.channels": 8, "data.augment": 0}), "digits", folder)
    return folder


def error(model: Model) -> float:
    x = open_parts("digits", model.recipe.data)[1].images(range(256)).float() / 255
    return float((model.reconstruct(x) - x).square().mean())


@pytest.mark.parametrize("bottleneck", ["vq", "fsq"])
def test_a_continuous_codec_becomes_a_discrete_one_faster_than_from_scratch(
    bottleneck: str, continuous: Path, tmp_path: Path
) -> None:
    recipe = successor(recipe_of(continuous), {"bottleneck": bottleneck, "training.steps": 50, "data.augment": 0})
    begun = run.train(recipe, "digits", tmp_path / "begun", start=continuous)
    scratch = run.train(recipe, "digits", tmp_path / "scratch")
    assert begun.codec.bottleneck.size
    assert error(begun) < 0.8 * error(scratch)


def test_the_run_remembers_what_it_began_with(
    continuous: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, settings = tmp_path / "run", {"bottleneck": "vq", "training.steps": 4, "training.checkpoint_steps": 2}
    with caplog.at_level(logging.WARNING):
        first = vitrail.train(data="digits", out=out, start=continuous, settings=settings, show=False)
    [told] = [record.getMessage() for record in caplog.records if "fresh" in record.getMessage()]
    assert told == f"begins with the weights of model {vitrail.load(continuous).fingerprint}; fresh: bottleneck.book"
    origin = json.loads((out / "recipe.json").read_text())["from"]
    assert origin == {"model": str(continuous), "fingerprint": vitrail.load(continuous).fingerprint}
    assert f"--from {continuous}" in (out / "report.html").read_text()
    caplog.clear()
    shutil.rmtree(out / "model")
    shutil.rmtree(out / "checkpoints" / "codec_step_000004")
    again = vitrail.train(data="digits", out=out, start=continuous, settings=settings, show=False)
    assert again.fingerprint == first.fingerprint
    assert not [record for record in caplog.records if "fresh" in record.getMessage()]
    with pytest.raises(UsageError, match=r"holds a run that began from .*, not with fresh weights"):
        run.train(first.recipe, "digits", out)
    with pytest.raises(UsageError, match=r"holds a run that began from .*, not from "):
        run.train(first.recipe, "digits", out, start=out)


def test_without_recipe_and_start_there_is_nothing_to_train(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a recipe, or a model to start from"):
        vitrail.train(data="digits", out=tmp_path / "run")
