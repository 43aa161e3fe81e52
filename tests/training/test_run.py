"""A whole run: interrupted anywhere it ends in the same model, and its folder belongs to one recipe on one data set."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import vitrail
from vitrail import catalog
from vitrail.data.dataset import open_dataset
from vitrail.errors import DataError, ModelError, UsageError
from vitrail.model.folder import load
from vitrail.model.recipe import Recipe, override
from vitrail.training import card, latents, run
from vitrail.training.codec_step import CodecStep
from vitrail.training.folder import neutral
from vitrail.training.prior_step import PriorStep

BRIEF: dict[str, Any] = {
    "network.widths": (8, 8),
    "training.steps": 8,
    "training.share": 0.5,
    "training.precision": "fp32",
    "training.threads": 1,
    "training.log": 1,
    "training.checkpoint_steps": 3,
    "training.codec.batch": 16,
    "training.prior.batch": 16,
    "data.workers": 0,
}
PARTS: dict[str, dict[str, Any]] = {
    "vqvae": {"bottleneck.size": 16, "prior.width": 16, "prior.depth": 1, "prior.heads": 2},
    "vae": {"prior.components": 2, "weights.kl.cycles": 2},
}


def tiny(name: str = "vqvae", **changes: Any) -> Recipe:
    made: Recipe = catalog.find("recipes", name).recipe()
    return override(made, {**BRIEF, **PARTS[name], **changes})


class PowerCut(Exception):
    """Not one of ours: nothing may catch it."""


def failing(call: Callable[..., Any], after: int, late: bool) -> Callable[..., Any]:
    """`call`, but the time after the first `after` ones fails, before or (late) after doing its work."""
    fails: Iterator[bool] = iter([False] * after + [True])

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        fail = next(fails, False)
        if fail and not late:
            raise PowerCut
        result = call(*args, **kwargs)
        if fail:
            raise PowerCut
        return result

    return wrapped


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Undisturbed runs."""
    folders = {name: tmp_path_factory.mktemp(name) / "run" for name in PARTS}
    for name, folder in folders.items():
        run.train(tiny(name), "digits", folder)
    return folders


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("name", "owner", "call", "after"),
    [
        ("vqvae", CodecStep, "after_step", 0),
        ("vqvae", CodecStep, "after_step", 3),
        ("vqvae", latents, "make", 0),
        ("vqvae", PriorStep, "after_step", 1),
        ("vqvae", PriorStep, "after_step", 3),
        ("vqvae", card, "save", 0),
        ("vae", CodecStep, "after_step", 5),
        ("vae", latents, "make", 0),
        ("vae", card, "save", 0),
    ],
)
def test_interrupted_anywhere_it_ends_in_the_same_model(
    name: str,
    owner: Any,
    call: str,
    after: int,
    late: bool,
    finished: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(owner, call, failing(getattr(owner, call), after, late))
        with pytest.raises(PowerCut):
            run.train(tiny(name), "digits", tmp_path / "run")
    torch.manual_seed(99)
    model = run.train(tiny(name), "digits", tmp_path / "run")
    undisturbed = load(finished[name])
    assert model.fingerprint == undisturbed.fingerprint
    assert torch.equal(model.sample(3), undisturbed.sample(3))


def test_a_finished_run_is_not_trained_again(finished: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.Run, "trained", failing(lambda *_: None, 0, late=False))
    assert run.train(tiny(), "digits", finished["vqvae"]).fingerprint == load(finished["vqvae"]).fingerprint


def test_what_a_run_leaves(finished: dict[str, Path]) -> None:
    folder = finished["vqvae"]
    for name in ("recipe.json", "environment.json", "metrics.jsonl", "status.json", "report.html", "model/README.md"):
        assert (folder / name).stat().st_size > 0
    assert {path.name.partition("_")[0] for path in (folder / "samples").glob("*.png")} == {
        "codec",
        "nearest.png",
        "prior",
    }
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [
        *(("codec", step) for step in range(1, 5)),
        *(("prior", step) for step in range(1, 5)),
    ]
    assert not list(folder.rglob("*.unfinished"))


def test_latents_have_mean_zero_and_variance_one(finished: dict[str, Path]) -> None:
    from vitrail.data.config import DataConfig
    from vitrail.data.dataset import open_parts

    for folder in finished.values():
        model = load(folder)
        data, _ = open_parts("digits", DataConfig(workers=0))
        z = model.encode(data.images(range(len(data)))).z
        torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(z.shape[1]), atol=0.05, rtol=0)
        if not model.codec.bottleneck.noisy:
            torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(z.shape[1]), atol=0.05, rtol=0)


def test_a_folder_of_another_recipe_is_refused_with_what_differs(finished: dict[str, Path]) -> None:
    with pytest.raises(
        UsageError, match=r"another recipe \(bottleneck.size 16, now 32.*choose another --out"
    ) as caught:
        run.train(tiny(**{"bottleneck.size": 32, "training.seed": 1}), "digits", finished["vqvae"])
    assert "training.seed 0, now 1" in str(caught.value)
    with pytest.raises(UsageError, match="holds a run of another recipe"):
        run.train(tiny("vae"), "digits", finished["vqvae"])


OTHERWISE: dict[str, Any] = {
    "data.memory": 1e-9,
    "data.strict": True,
    "data.workers": 2,
    "training.checkpoint": 1e-3,
    "training.checkpoint_steps": 2,
    "training.log": 3,
    "training.preview": 1e-3,
}


def test_every_neutral_setting_is_tried() -> None:
    assert neutral() == OTHERWISE.keys()


@pytest.mark.parametrize(
    ("changes", "owner"),
    [*(([key], CodecStep) for key in OTHERWISE), ([*OTHERWISE], CodecStep), ([*OTHERWISE], PriorStep)],
)
def test_a_neutral_setting_may_change_on_the_way(
    changes: list[str],
    owner: type,
    finished: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(owner, "after_step", failing(owner.after_step, 2, late=False))
        with pytest.raises(PowerCut):
            run.train(tiny(), "digits", tmp_path / "run")
    caplog.set_level("INFO")
    other = tiny(**{key: OTHERWISE[key] for key in changes})
    model = run.train(other, "digits", tmp_path / "run")
    for name in ("codec.safetensors", "prior.safetensors"):
        ours, undisturbed = (folder / "model" / name for folder in (tmp_path / "run", finished["vqvae"]))
        assert ours.read_bytes() == undisturbed.read_bytes()
    assert all(f"{key} {BRIEF.get(key, '')}" in caplog.text for key in changes)
    told = json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]
    assert told == model.recipe.printed()
    for key in changes:
        group, name = key.split(".")
        assert told[group][name] == OTHERWISE[key]
    assert run.train(tiny(), "digits", tmp_path / "run").fingerprint == model.fingerprint  # finished: nothing changes


def test_a_neutral_setting_does_not_hide_another(finished: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"another recipe \(training.seed 0, now 1\)"):
        run.train(tiny(**{"data.workers": 3, "training.seed": 1}), "digits", finished["vqvae"])


def pictures(folder: Path, count: int) -> Path:
    """A folder of small pictures in two classes."""
    for number in range(count):
        file = folder / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    return folder


def test_changed_data_is_refused(tmp_path: Path) -> None:
    source = pictures(tmp_path / "pictures", 40)
    recipe = tiny("vae", **{"training.steps": 2})
    run.train(recipe, str(source), tmp_path / "run")
    assert run.train(recipe, str(source), tmp_path / "run").fingerprint
    pictures(source, 42)
    with pytest.raises(UsageError, match=r"run on other data .*choose another --out"):
        run.train(recipe, str(source), tmp_path / "run")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is not empty and holds no run"):
        run.train(tiny(), "digits", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_mistakes_are_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run.train(tiny(), str(tmp_path / "nowhere"), tmp_path / "run")
    with pytest.raises(UsageError, match="use prior=mixture or bottleneck=vq"):
        run.train(tiny("vae").vary(prior="autoregressive"), "digits", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_missing_weight_file_leaves_no_folder(tmp_path: Path) -> None:
    for part in ("perceptual", "discriminator"):
        lacking = {"adversarial": "hinge", "discriminator": "patch", part: {"name": "features", "path": "no/where"}}
        with pytest.raises(ModelError, match="no/where"):
            run.train(tiny(**lacking), "digits", tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_weight_without_a_term_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="weights name kl, but the terms are commitment, perceptual, reconstruction"):
        run.train(tiny(**{"weights.kl": 1}), "digits", tmp_path / "run")


def test_the_seed_decides(finished: dict[str, Path], tmp_path: Path) -> None:
    other = run.train(tiny("vae", **{"training.seed": 1}), "digits", tmp_path / "run")
    same = load(finished["vae"])
    assert not torch.equal(other.sample(2), same.sample(2))


@pytest.mark.parametrize("name", ["vqvae", "vae"])
def test_without_a_prior(name: str, tmp_path: Path) -> None:
    """The codec gets the whole budget, its latents are measured, and what wants a prior says that there is none."""
    whole = {"data.workers": 0, **BRIEF, **PARTS[name]}
    changes = {key: value for key, value in whole.items() if not key.startswith("prior.")}
    recipe = override(catalog.find("recipes", name).recipe(), {**changes, "prior": None})
    made = run.train(recipe, "digits", tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [("codec", step) for step in range(1, 9)]
    assert not (tmp_path / "run" / "model" / "prior.safetensors").exists()
    assert not torch.equal(made.codec.std, torch.ones_like(made.codec.std))
    with pytest.raises(UsageError, match="this model has no prior, so it cannot sample"):
        made.sample(1)
    assert run.train(recipe, "digits", tmp_path / "run").fingerprint == made.fingerprint
    assert "model.sample" not in (tmp_path / "run" / "model" / "README.md").read_text()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "model.sample" not in page
    assert "prior=null" in page
    with safetensors.safe_open(tmp_path / "run" / "latents" / "train.safetensors", "pt") as held:
        assert ("latent" in held.keys()) == (name == "vqvae")  # noqa: SIM118 - codes are counted, z is not wanted


def test_a_single_code_says_nothing_and_is_no_mistake(tmp_path: Path) -> None:
    model = run.train(tiny(**{"bottleneck.size": 1}), "digits", tmp_path / "run")
    assert not model.encode(torch.rand(2, 1, 8, 8)).codes.any()
    assert "codes out of 1, which say nothing" in (tmp_path / "run" / "report.html").read_text()


def test_a_continuous_prior_of_a_discrete_codec_learns_from_its_z(tmp_path: Path) -> None:
    changes = {**BRIEF, "bottleneck.size": 16, "prior": "mixture", "prior.components": 1}
    made = run.train(override(catalog.find("recipes", "vqvae").recipe(), changes), "digits", tmp_path / "run")
    assert made.prior is not None
    z = made.draw(200)
    assert z.shape[1:] == made.codec.latent_spec().shape
    assert abs(float(z.mean())) < 0.1  # one component over normalised latents
    assert float(z.square().mean()) == pytest.approx(1, abs=0.2)


def test_the_normal_prior_draws_with_the_scale_that_the_posterior_was_pulled_towards(tmp_path: Path) -> None:
    changes = {**BRIEF, "bottleneck.prior": "learned", "bottleneck.channels": 3, "training.codec.lr": 0.1}
    recipe = override(catalog.find("recipes", "vae-dense").recipe(), changes)
    made = run.train(recipe, "digits", tmp_path / "run")
    scale = made.codec.bottleneck.scale()
    assert scale is not None
    assert (scale - 1).abs().min() > 0.01
    assert torch.equal(made.codec.std, scale)
    assert torch.equal(made.codec.mean, torch.zeros(3))
    assert (tmp_path / "run" / "samples" / "prior.png").exists()


def test_the_normal_prior_of_a_plain_autoencoder_draws_with_the_measured_scale(tmp_path: Path) -> None:
    changes = {**BRIEF, "prior": "normal", "bottleneck": "none"}
    made = run.train(override(catalog.find("recipes", "vae").recipe(), changes), "digits", tmp_path / "run")
    assert (made.codec.mean != 0).all()


def test_without_average_previews_do_not_stop_the_learning(tmp_path: Path) -> None:
    """A preview puts the module into evaluation for a moment; a codebook that stays there would not move again."""
    recipe = tiny(**{"training.codec.ema": 0, "training.preview": 1e-6, "training.steps": 20})
    run.train(recipe, "digits", tmp_path / "often")
    lines = [json.loads(line) for line in (tmp_path / "often" / "metrics.jsonl").read_text().splitlines()]
    state = load(tmp_path / "often").codec.bottleneck.state_dict()
    assert [tensor for name, tensor in state.items() if name.rpartition(".")[2] == "steps"] == [10]
    assert len(lines) == 20


def test_latents_of_another_codec_are_made_again(tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    for out in (first, again):
        run.train(tiny(), "digits", out)
    shutil.rmtree(again / "model")
    for path in (again / "checkpoints").glob("prior_*"):
        shutil.rmtree(path)
    file = again / "latents" / "train.safetensors"
    with safetensors.safe_open(file, "pt") as held:
        tensors = {name: torch.zeros_like(held.get_tensor(name)) for name in held.keys()}  # noqa: SIM118
    safetensors.torch.save_file(tensors, file, {"vitrail": '{"seconds": 1.0, "codec": "another"}'})
    assert run.train(tiny(), "digits", again).fingerprint == load(first).fingerprint


def test_a_conditional_prior_learns_from_hints_and_shows_them(tmp_path: Path) -> None:
    """Hints are encoded beside the pictures, each the same whatever the batch; the run resumes bit for bit."""
    out, again = tmp_path / "run", tmp_path / "again"
    made = run.train(tiny(condition="downscale", **{"prior.window": 1}), "digits", out)
    with safetensors.safe_open(out / "latents" / "train.safetensors", "pt") as held:
        codes, hints = held.get_tensor("latent").long(), held.get_tensor("condition").long()
    assert codes.shape == hints.shape
    x = torch.from_numpy(open_dataset("digits", made.recipe.data, "train").images([4]).numpy()).float() / 255
    assert torch.equal(made.encode(made.hint(x, made.recipe.training.seed, 4)).codes, hints[4:5])
    assert len(list((out / "samples").glob("prior_step_*.png"))) == 1
    hint = made.hint(x)
    assert made.sample(2, condition=hint).shape == (2, 1, 8, 8)
    shutil.copytree(out, again)
    shutil.rmtree(again / "model")
    for path in sorted((again / "checkpoints").glob("prior_*"))[1:]:
        shutil.rmtree(path)
    resumed = run.train(tiny(condition="downscale", **{"prior.window": 1}), "digits", again)
    assert resumed.fingerprint == made.fingerprint


def test_settings_count_beside_the_flags(tmp_path: Path) -> None:
    settings = {**BRIEF, **PARTS["vqvae"], "training.seed": 5}
    made = vitrail.train("vqvae", data="digits", out=tmp_path / "run", settings=settings, show=False)
    assert (made.recipe.training.budget, made.recipe.training.seed) == ("8 steps", 5)


FLOW = {key: value for key, value in BRIEF.items() if key != "network.widths"} | {
    "prior.few_steps": True,
    "denoiser.width": 16,
    "denoiser.blocks": 1,
    "data.flip": True,
}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_term_of_the_prior_counts_what_the_recipe_says(tmp_path: Path) -> None:
    recipe = override(catalog.find("recipes", "flow").recipe(), {**FLOW, "weights.consistency": 0.25})
    run.train(recipe, "digits", tmp_path / "run")
    for line in lines_of(tmp_path / "run"):
        assert line["stage"] == "prior"
        assert line["loss"] == pytest.approx(line["terms"]["denoising"] + 0.25 * line["terms"]["consistency"], rel=1e-5)
    with pytest.raises(UsageError, match="weights name consistency, but the terms are denoising"):
        run.train(override(recipe, {"prior.few_steps": False}), "digits", tmp_path / "other")


@pytest.mark.parametrize("condition", [None, "downscale"])
def test_a_codec_without_weights_feeds_the_prior_what_the_loader_gives(
    condition: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Augmented pictures in the loader's order, whenever it was interrupted; no latents are kept, and no codec is trained."""
    recipe = override(catalog.find("recipes", "flow").recipe(), {**FLOW, "condition": condition})
    model = run.train(recipe, "digits", tmp_path / "undisturbed")
    assert not any(line["stage"] == "codec" for line in lines_of(tmp_path / "undisturbed"))
    with safetensors.safe_open(tmp_path / "undisturbed" / "latents" / "train.safetensors", "pt") as held:
        assert set(held.keys()) == {"label", "mean", "std"}
    with monkeypatch.context() as patch:
        patch.setattr(PriorStep, "after_step", failing(PriorStep.after_step, 3, late=False))
        with pytest.raises(PowerCut):
            run.train(recipe, "digits", tmp_path / "cut")
    assert run.train(recipe, "digits", tmp_path / "cut").fingerprint == model.fingerprint
