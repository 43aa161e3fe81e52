"""Denoisers and schedulers that diffusers reads compute there what they do here."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.errors import UsageError
from vitrail.interop import diffusers as ours
from vitrail.interop._diffusers_denoiser import NULL
from vitrail.model.model import Model
from vitrail.model.recipe import override
from vitrail.priors._continuous import Continuous, Given
from vitrail.samplers.continuous import ddim, euler
from vitrail.samplers.path import DATA, Level
from vitrail.types import DataSpec

oracle = pytest.importorskip("diffusers")

UNET = {"name": "unet", "width": 16, "multipliers": [1, 2], "blocks": 1, "attention": 4}
DIT = {"name": "dit", "width": 32, "depth": 2, "patch": 2, "classic": True}
PIXELS: dict[str, Any] = {
    "network": "identity",
    "bottleneck": "identity",
    "reconstruction": "mse",
    "prior": "diffusion",
    "denoiser": UNET,
}
LDM: dict[str, Any] = {
    "network": {"name": "ldm", "widths": [8, 16], "groups": 4, "blocks": 1, "double": True, "channels": 4},
    "bottleneck": {"name": "gaussian", "channels": 4},
}


def model_of(shape: tuple[int, ...] = (2, 8, 8), classes: int = 3, **changes: Any) -> Model:
    """A model of our own, every weight of its prior something."""
    recipe = override(catalog.find("recipes", "vqvae").recipe(), deepcopy({**PIXELS, **changes}))
    model = Model.build(recipe, DataSpec(shape=shape, classes=tuple(f"c{i}" for i in range(classes))))
    assert model.prior is not None
    with torch.no_grad():
        for weight in model.prior.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return model


def exported(model: Model, path: Path) -> tuple[Any, Any]:
    """Denoiser and scheduler as diffusers reads them."""
    ours.write(model, path)
    folder = "unet" if (path / "unet").exists() else "transformer"
    told = [
        json.loads((path / name).read_text()) for name in (f"{folder}/config.json", "scheduler/scheduler_config.json")
    ]
    net, scheduler = (getattr(oracle, each["_class_name"]) for each in told)
    return net.from_pretrained(path / folder).eval(), scheduler.from_pretrained(path / "scheduler")


def prior_of(model: Model) -> Continuous:
    assert isinstance(model.prior, Continuous)
    return model.prior


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"denoiser.scaling": False, "denoiser.blocks": 2, "denoiser.attention": 8},
        {"denoiser.multipliers": [1], "denoiser.width": 24},
        {"denoiser": DIT},
        {"denoiser": {**DIT, "patch": 1, "depth": 1}},
    ],
)
@torch.inference_mode()
def test_networks_are_the_same(changes: dict[str, Any], classes: int, tmp_path: Path) -> None:
    model = model_of(classes=classes, **changes)
    net, _ = exported(model, tmp_path / "out")
    z, told = torch.randn(4, 2, 8, 8), torch.tensor([0.0, 3.0, 500.0, 999.0])
    label = torch.tensor([0, 1, 2, 3]) if classes else torch.zeros(4, dtype=torch.long)
    here = prior_of(model).net(z, told[:, None], label)
    given = {"class_labels": label} if classes or "depth" in str(changes) else {}
    torch.testing.assert_close(net(z, told, **given).sample, here, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_no_class_is_where_the_pipeline_looks_for_it(tmp_path: Path) -> None:
    model = model_of(denoiser=DIT)
    net, _ = exported(model, tmp_path / "out")
    z, told = torch.randn(1, 2, 8, 8), torch.tensor([10.0])
    here = prior_of(model).net(z, told[:, None], torch.tensor([3]))
    torch.testing.assert_close(net(z, told, class_labels=torch.tensor([NULL])).sample, here, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("path", "predicts"), [("cosine", "v"), ("cosine", "x0"), ("linear", "eps"), ("linear", "v"), ("linear-zero", "v")]
)
@torch.inference_mode()
def test_ddim_is_the_same(path: str, predicts: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"prior.path": path, "prior.predicts": predicts}
    model = model_of(classes=0, **changes)
    net, scheduler = exported(model, tmp_path / "out")
    prior, start = prior_of(model), torch.randn(3, 2, 8, 8)
    scheduler.set_timesteps(10)
    there = walked(net, scheduler, start)
    levels = [prior.path.level(int(t) / prior.path.steps) for t in scheduler.timesteps]
    here = ddim.sample(prior.denoiser(Given(torch.full((3,), -1))), start, [*levels, DATA])
    torch.testing.assert_close(here, there, atol=1e-4 * float(there.std()), rtol=1e-4)


@torch.inference_mode()
def test_euler_is_the_same(tmp_path: Path) -> None:
    model = model_of(classes=0, prior="flow")
    net, scheduler = exported(model, tmp_path / "out")
    start = torch.randn(3, 2, 8, 8)
    scheduler.set_timesteps(10)
    there = walked(net, scheduler, start)
    levels = [Level(1 - float(sigma), float(sigma)) for sigma in scheduler.sigmas]
    here = euler.sample(prior_of(model).denoiser(Given(torch.full((3,), -1))), start, levels)
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)


def walked(net: Any, scheduler: Any, z: Tensor) -> Tensor:
    """As the exported README says."""
    for t in scheduler.timesteps:
        z = scheduler.step(net(z, t.expand(len(z))).sample, t, z).prev_sample
    return z


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"denoiser": {**UNET, "patch": 2}}, r"denoiser\.patch=1"),
        ({"denoiser.multipliers": [1, 1, 1, 1, 1]}, "multiples of 16"),
        ({"denoiser": "mlp"}, "not for mlp"),
        ({"denoiser": {**DIT, "classic": False}}, r"denoiser\.classic=true"),
        ({"prior.path": "exploding", "prior.predicts": "edm"}, r"path=exploding with prior\.predicts=edm"),
        ({"prior.predicts": "flow"}, r"path=cosine with prior\.predicts=flow"),
        ({"prior.self_conditioning": True}, "last estimate"),
        ({"data.captions": 8}, "a caption"),
        ({"prior": "flow", "prior.few_steps": True}, "size of a step"),
    ],
)
def test_what_diffusers_has_no_place_for_is_said(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    model = model_of(**changes)
    with pytest.raises(UsageError, match=named) as told:
        ours.write(model, tmp_path / "out")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_a_rectangle_has_no_transformer_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="squares"):
        ours.write(model_of(shape=(2, 8, 16), denoiser=DIT), tmp_path / "out")


def test_pixels_in_the_usual_range_are_a_whole_pipeline(tmp_path: Path) -> None:
    model = model_of(shape=(3, 8, 8), classes=0)
    ours.write(model, tmp_path / "out")
    pipe = oracle.DDIMPipeline.from_pretrained(tmp_path / "out")
    pipe.set_progress_bar_config(disable=True)
    assert pipe(batch_size=2, num_inference_steps=2, output_type="np").images.shape == (2, 8, 8, 3)
    model.codec.std.fill_(0.5)
    ours.write(model, tmp_path / "other")
    assert not (tmp_path / "other" / "model_index.json").exists()
    assert "mean [0.0, 0.0, 0.0], std [0.5, 0.5, 0.5]" in (tmp_path / "other" / "README.md").read_text()


def test_a_latent_transformer_is_a_whole_pipeline(tmp_path: Path) -> None:
    model = model_of(shape=(3, 16, 16), **LDM, denoiser=DIT)
    ours.write(model, tmp_path / "out")
    pipe = oracle.DiTPipeline.from_pretrained(tmp_path / "out")
    pipe.set_progress_bar_config(disable=True)
    images = pipe(pipe.get_label_ids(["c2"]), num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 16, 16, 3)


def test_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(shape=(3, 16, 16), **LDM, denoiser={**UNET, "attention": 8})
    ours.write(model, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "The codec lies in `vae/`" in text
    assert "0 c0, 1 c1, 2 c2; 3 is none" in text
    monkeypatch.chdir(tmp_path / "out")
    space: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0].replace("(50)", "(2)"), space)
    assert space["z"].shape == (4, 4, 8, 8)
    assert space["z"].isfinite().all()
