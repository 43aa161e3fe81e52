"""What every recipe must do; a new file is tested by existing."""

import re
import shlex
from itertools import count
from pathlib import Path

import pytest
import torch
from brief import NAMES, load, tiny
from torch import nn

from vitrail import catalog
from vitrail.model.build import build_codec, build_prior, check, fitted
from vitrail.model.recipe import override, read_settings
from vitrail.model.weight import current
from vitrail.training import run
from vitrail.training.codec_step import CodecStep
from vitrail.training.generator_step import GeneratorStep
from vitrail.training.job import StepModule
from vitrail.training.objectives import codec_step, rivalry
from vitrail.training.prior_step import PriorStep
from vitrail.training.weights import weigh
from vitrail.types import Batch, DataSpec

SHAPES = ((1, 28, 28), (3, 32, 32), (1, 30, 45))


def commands(name: str) -> list[list[str]]:
    """The `vitrail train` lines of a recipe's docstring, in words."""
    text = catalog.find("recipes", name).__doc__ or ""
    return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("vitrail train")]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_named_after_its_file(name: str) -> None:
    assert load(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_says_what_one_needs(name: str) -> None:
    module = catalog.find("recipes", name)
    text = " ".join((module.__doc__ or "").split())
    assert re.search(r"Papers?: .*\d{4}", text)
    assert "Reading order: " in text
    named = re.findall(r"[\w/]+\.py", text.partition("Reading order: ")[2])
    assert named
    assert [path for path in named if not (catalog.ROOT / path).exists()] == []
    assert module.recipe.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_its_docstring_are_right(name: str) -> None:
    assert commands(name)
    for words in commands(name):
        assert words[2] == name
        options = dict(zip(words[3::2], words[4::2], strict=True))
        assert {"--data", "--out"} <= options.keys() <= {"--data", "--out", "--budget", "--seed", "--set"}
        changes = read_settings([value for key, value in options.items() if key == "--set"])
        override(load(name), {**changes, "training.budget": options.get("--budget", "1 steps")})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_it_builds_for_every_shape_of_picture(name: str, shape: tuple[int, ...]) -> None:
    recipe, spec = load(name), DataSpec(shape=shape, classes=("a", "b"))
    check(recipe, spec)
    codec = build_codec(tiny(recipe), spec)
    prior = build_prior(tiny(recipe), spec, codec)
    codec.eval()
    z = torch.randn(2, *prior.spec.shape) if codec.encoder is None else codec.encode(torch.rand(2, *shape)).z
    assert tuple(z.shape[1:]) == prior.spec.shape
    assert codec.decode(z, shape[1:]).shape == (2, *shape)


@pytest.mark.parametrize("prior", ["flow", "mixture"])
@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("gan") or name.startswith("v")])
def test_its_prior_can_be_exchanged(name: str, prior: str) -> None:
    """Its denoiser comes and goes with it, of a kind that suits the latent; generators alone want noise."""
    spec = DataSpec(shape=(1, 28, 28), classes=("a", "b"))
    recipe = fitted(override(load(name), {"prior": prior}), spec)
    check(recipe, spec)
    assert (recipe.denoiser is not None) == (prior == "flow")


@pytest.mark.parametrize("name", NAMES)
def test_its_weights_name_terms_and_everything_learns(name: str) -> None:
    """At the end of training, when every term counts; with its discriminator, which then learns from what was made."""
    recipe, spec = tiny(load(name)), DataSpec(shape=(1, 8, 8))
    codec = build_codec(recipe, spec)
    adversary, rival, weights = rivalry(recipe, spec)
    step = codec_step(recipe, spec, codec, adversary, weights).train()
    batch = Batch(torch.rand(4, 1, 8, 8), torch.zeros(4).long(), torch.arange(4))
    if not codec.learns:
        assert not weights
        return
    for _ in range(2):  # the first step measures how strong the game is to be
        codec.zero_grad()
        step.at(1.0)
        weigh(step(batch).terms, current(weights, 1.0)).backward()
        made = step.contest()
        step.after_step()
    assert_all_learn(codec)
    if rival is not None:
        weigh(rival.module.train()(made).terms, current(rival.weights, 1.0)).backward()
        assert_all_learn(rival.module)


def assert_all_learn(module: nn.Module) -> None:
    """Every weight got a finite gradient, and not all of them are 0."""
    weights = dict(module.named_parameters())
    assert [key for key, weight in weights.items() if weight.grad is None or not weight.grad.isfinite().all()] == []
    assert any(weight.grad.any() for weight in weights.values())


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_and_resumes_to_the_same_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny(load(name))
    model = run.train(recipe, "digits", tmp_path / "undisturbed")
    pictures = model.sample(3, seed=1)
    assert pictures.shape == (3, 1, 8, 8)
    assert pictures.isfinite().all()
    assert model.fingerprint == run.train(recipe, "digits", tmp_path / "undisturbed").fingerprint

    kind: type[StepModule] = GeneratorStep if model.codec.encoder is None else CodecStep
    kind = kind if model.codec.learns else PriorStep
    step, calls = kind.after_step, count(1)

    def failing(self: StepModule) -> None:
        if next(calls) == 3:
            raise KeyError("power cut")
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "after_step", failing)
        with pytest.raises(KeyError, match="power cut"):
            run.train(recipe, "digits", tmp_path / "cut")
    assert run.train(recipe, "digits", tmp_path / "cut").fingerprint == model.fingerprint
