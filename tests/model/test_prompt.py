"""Models that are told in words: prompts taken, cut and refused, and a sample the same in every company."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.errors import UsageError
from vitrail.model import folder
from vitrail.model.build import check
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe, override
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 8, 8), classes=("ant", "bee"))
SMALL: dict[str, dict[str, Any]] = {
    "unet": {"denoiser": {"name": "unet", "width": 16, "blocks": 1}},
    "dit": {"denoiser": {"name": "dit", "width": 32, "depth": 1}},
    "mlp": {"denoiser": {"name": "mlp", "width": 32, "depth": 1}},
}
FAST: dict[str, Any] = {"steps": 3, "guidance": 1.5}


def recipe(net: str = "unet", **changes: Any) -> Recipe:
    made: Recipe = catalog.find("recipes", "flow").recipe()
    return override(made, {**SMALL[net], "data.captions": 12, **changes})


def model(net: str = "unet", spec: DataSpec = SPEC, **changes: Any) -> Model:
    made = Model.build(recipe(net, **changes), spec)
    assert made.prior is not None
    for weight in made.prior.parameters():
        weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    return made


@pytest.fixture(scope="module", params=SMALL)
def reader(request: pytest.FixtureRequest) -> Model:
    return model(request.param)


def near(a: Tensor, b: Tensor) -> bool:
    return bool((255 * (a - b)).abs().max() < 1)


def test_a_sample_is_its_number_and_its_prompt(reader: Model) -> None:
    prompts = [f"no. {i % 5}" for i in range(70)]
    whole = reader.sample(70, prompt=prompts, seed=2, **FAST)
    for i in (0, 7, 69):
        alone = reader.sample(1, prompt=prompts[i], seed=2, first=i, **FAST)
        assert torch.equal(alone, whole[i : i + 1])
    assert torch.equal(reader.sample(3, prompt="no. 0", seed=2, **FAST)[0], whole[0])
    assert not near(reader.sample(1, prompt="no. 1", seed=2, **FAST), whole[:1])


def test_nothing_said_is_an_empty_prompt_without_a_class(reader: Model) -> None:
    silent = reader.sample(3, prompt="", **FAST)
    assert torch.equal(reader.sample(3, label=-1, **FAST), silent)
    assert torch.equal(reader.sample(3, prompt=["", " ", "\n"], label=-1, **FAST), silent)
    assert not near(reader.sample(3, prompt="", label="bee", **FAST), silent)
    assert reader.labels(None, range(4)).tolist() == [0, 1, 0, 1]  # in turn, as without captions
    assert reader.labels(None, range(4), told=True).tolist() == [-1] * 4


def test_a_prompt_is_read_as_far_as_a_caption(reader: Model) -> None:
    twelve = reader.sample(1, prompt="abcdefghijkl", **FAST)
    assert torch.equal(reader.sample(1, prompt="abcdefghijkl and more", **FAST), twelve)


def test_a_caption_is_enough_to_guide_by() -> None:
    classless = model(spec=DataSpec(shape=(1, 8, 8)))
    assert classless.settings({"guidance": 3.0}).model_dump()["guidance"] == 3.0
    assert not near(*(classless.sample(1, prompt="red", steps=3, guidance=scale) for scale in (1.0, 4.0)))


def test_a_stored_model_still_reads(reader: Model, tmp_path: Path) -> None:
    folder.save(reader, tmp_path)
    loaded = folder.load(tmp_path)
    assert torch.equal(loaded.sample(2, prompt="red", **FAST), reader.sample(2, prompt="red", **FAST))


def test_models_without_captions_are_what_they_were() -> None:
    before = model(**{"data.captions": 0})
    assert not [name for name in before.prior.state_dict() if "text" in name or "read" in name]  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="reads no captions; leave the prompt out"):
        before.sample(1, prompt="red")


def test_prompts_too_many_and_hints_are_refused(reader: Model) -> None:
    with pytest.raises(UsageError, match="one for each of 3 samples, got 2"):
        reader.sample(3, prompt=["a", "b"])
    with pytest.raises(UsageError, match="takes no condition"):
        reader.sample(1, condition=torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        (
            "vqvae",
            {},
            r"^the autoregressive prior reads no captions; use prior=flow or diffusion, or data\.captions=0$",
        ),
        ("vae", {}, r"^the mixture prior reads no captions"),
        ("autoencoder", {"prior": None}, r"^a recipe without a prior reads no captions"),
        ("flow", {"condition": "downscale"}, r"^a prior is given captions or degraded pictures, not both"),
    ],
)
def test_captions_want_a_prior_that_reads_them(name: str, changes: dict[str, Any], reason: str) -> None:
    made = override(catalog.find("recipes", name).recipe(), {"data.captions": 12, **changes})
    with pytest.raises(UsageError, match=reason):
        check(made, SPEC)


@pytest.mark.parametrize("name", ["diffusion", "flow", "latent-diffusion"])
def test_recipes_of_diffusion_and_flow_read_them(name: str) -> None:
    check(override(catalog.find("recipes", name).recipe(), {"data.captions": 12}), SPEC)
