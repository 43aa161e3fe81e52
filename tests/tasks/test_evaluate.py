from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vitrail import catalog
from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_dataset
from vitrail.data.loader import unit
from vitrail.errors import DataError, UsageError
from vitrail.metrics.frechet import frechet
from vitrail.metrics.inception_score import inception_score
from vitrail.metrics.protocol import comparable
from vitrail.metrics.ssim import ssim
from vitrail.model.model import Model
from vitrail.networks.features.small import Config, Small
from vitrail.tasks._plan import FEW, plan
from vitrail.tasks.evaluate import evaluate
from vitrail.tasks.sample import sample
from vitrail.types import DataSpec


@pytest.fixture(scope="module")
def net() -> Small:
    """An untrained classifier of ten classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Config(width=4, stages=1).build().eval().requires_grad_(False)


def test_scores_of_reconstructions_are_those_of_all_pictures_at_once(discrete: Model, digits: Dataset) -> None:
    found = evaluate(discrete, digits, limit=300)  # more than a block
    x = unit(digits.images(range(300)).numpy())
    x_hat = discrete.reconstruct(x)
    error = (x.double() - x_hat.double()).square().mean((1, 2, 3))
    assert found["psnr"] == pytest.approx(float((-10 * error.log10()).mean()), abs=1e-6)
    assert found["psnr_of_mean_error"] == pytest.approx(-10 * math.log10(float(error.mean())), abs=1e-6)
    assert found["ssim"] == pytest.approx(float(ssim(x, x_hat).mean()), abs=1e-6)
    codes = discrete.encode(x).codes
    share = torch.bincount(codes.flatten(), minlength=16).double() / codes.numel()
    assert found["codebook_usage"] == pytest.approx(float((share > 0).double().mean()))
    assert found["bits_per_token"] == pytest.approx(float(torch.special.entr(share).sum()) / math.log(2))
    assert found["bits_per_pixel"] == 4 * math.log2(16) / 64
    assert {score.n_real for score in found.scores} == {300}


def test_without_codes_there_are_no_scores_of_codes(vector: Model, digits: Dataset) -> None:
    assert [score.metric for score in evaluate(vector, digits, limit=20).scores] == [
        "psnr",
        "psnr_of_mean_error",
        "ssim",
    ]


def test_samples_are_compared_through_the_net(discrete: Model, digits: Dataset, net: Small) -> None:
    found = evaluate(discrete, digits, net, samples=40, limit=50, seed=5, temperature=0.7)
    real = net.features(unit(digits.images(range(50)).numpy()))
    drawn = sample(discrete, 40, seed=5, temperature=0.7)
    x = (drawn.pictures * 255).round() / 255  # as it would come back from a file
    assert found["frechet"] == pytest.approx(frechet(real, net.features(x)), rel=1e-6)
    asked = torch.tensor([int(label or -1) for label in drawn.labels])
    assert found["recognised"] == pytest.approx(float((net.logits(x).argmax(1) == asked).double().mean()))
    score = next(score for score in found.scores if score.metric == "frechet")
    assert (score.n_real, score.n_fake, score.seed, score.model["temperature"]) == (50, 40, 5, 0.7)


def test_a_conditional_prior_is_given_the_pictures_in_turn(conditional: Model, digits: Dataset, net: Small) -> None:
    found = evaluate(conditional, digits, net, samples=len(digits) + 3, limit=40, seed=5)
    pictures = unit(digits.images([*range(len(digits)), 0, 1, 2]).numpy())
    drawn = sample(conditional, len(pictures), seed=5, condition=conditional.hint(pictures, 5))
    fake = net.features((drawn.pictures * 255).round() / 255)
    assert found["frechet"] == pytest.approx(frechet(net.features(pictures[:40]), fake), rel=1e-6)
    assert "recognised" not in [score.metric for score in found.scores]  # no class was asked for


def test_protocols_tell_unlike_evaluations_apart(discrete: Model, digits: Dataset, net: Small) -> None:
    first, same, other = (evaluate(discrete, digits, net, samples=n, limit=30).scores for n in (20, 20, 25))
    assert [comparable(a, b) for a, b in zip(first, same, strict=True)] == [[]] * len(first)
    differ = {score.metric: comparable(score, b) for score, b in zip(first, other, strict=True)}
    assert (differ["psnr"], differ["frechet"]) == ([], ["n_fake"])


def test_a_prior_without_classes_is_not_asked_for_classes(vector: Model, digits: Dataset, net: Small) -> None:
    metrics = [score.metric for score in evaluate(vector, digits, net, samples=20, limit=20).scores]
    assert "recognised" not in metrics
    assert metrics[-1] == "classifier_accuracy"


def test_progress_ends_at_the_total(discrete: Model, digits: Dataset, net: Small) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(
        discrete,
        digits,
        net,
        samples=10,
        limit=20,
        likelihood=8,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(20, 38), (28, 38), (38, 38)]


def test_unknown_settings_are_refused_before_the_work(vector: Model, digits: Dataset, net: Small) -> None:
    with pytest.raises(UsageError, match="no setting 'guidance'"):
        evaluate(vector, digits, net, guidance=2.0, progress=lambda done, total: pytest.fail("too late"))


def test_pictures_of_other_channels_are_refused(discrete: Model, digits: Dataset) -> None:
    class Coloured:
        spec = digits.spec.model_copy(update={"shape": (3, 8, 8)})

        def __len__(self) -> int:
            return 1

    with pytest.raises(DataError, match="1 channels, the data's have 3"):
        evaluate(discrete, Coloured())  # type: ignore[arg-type]


def test_every_figure_of_a_set_has_an_interval_around_it(discrete: Model, digits: Dataset, net: Small) -> None:
    found = evaluate(discrete, digits, net, samples=60, limit=80)
    assert {score.metric for score in found.scores if score.interval is None} == {"bits_per_pixel"}
    for score in found.scores:
        low, high = score.interval or (score.value, score.value)
        assert low <= score.value + 1e-9
        assert score.value - 1e-9 <= high, score.metric
    assert found.seconds_per_sample is not None
    assert found.seconds_per_sample > 0
    few = evaluate(discrete, digits, net, samples=30, limit=80)
    assert next(score for score in few.scores if score.metric == "frechet").interval is None


def test_inception_score_is_that_of_the_nets_logits(vector: Model, digits: Dataset, net: Small) -> None:
    found = evaluate(vector, digits, net, samples=45, limit=20, seed=2)
    drawn = sample(vector, 45, seed=2)
    logits = net.logits((drawn.pictures * 255).round() / 255)
    assert found["inception_score"] == pytest.approx(inception_score(logits, seed=2).mean, rel=1e-5)


def test_copies_of_training_pictures_are_found_in_every_space(vector: Model, digits: Dataset, net: Small) -> None:
    learnt = open_dataset("digits", DataConfig(), "train")
    told: list[tuple[int, int]] = []
    found = evaluate(
        vector,
        digits,
        net,
        samples=50,
        likelihood=0,
        training=learnt,
        progress=lambda done, total: told.append((done, total)),
    )
    score = {score.metric: score for score in found.scores}
    for name in ("copies", "copies_latent", "copies_features"):
        mine, its = score[name], score.get(f"{name}_heldout", score["copies_heldout"])
        assert (mine.n_fake, mine.n_real, mine.settings) == (50, len(digits), {"training": len(learnt)})
        assert (its.n_fake, its.n_real, its.model["expected"]) == (None, len(digits), pytest.approx(0.01, abs=0.002))
        assert its.value < 0.06
        assert mine.interval is not None
    assert score["nearest_heldout"].value > 0
    assert told[-1] == (len(digits) + 50 + 2 * len(learnt) + len(digits),) * 2
    features = found.copies["features"]
    assert sorted(features.closest.tolist()) == list(range(50))
    worst = int(features.closest[0])
    x = sample(vector, 1, first=worst).pictures
    near = (
        net.features((x * 255).round() / 255),
        net.features(unit(learnt.images([int(features.nearest.index[worst])]).numpy())),
    )
    every = net.features(unit(learnt.images(range(len(learnt))).numpy()))
    assert float(torch.dist(*near)) == pytest.approx(float(torch.cdist(near[0], every).min()), rel=1e-4)


def test_copies_are_looked_for_without_a_feature_net(discrete: Model, digits: Dataset) -> None:
    learnt = open_dataset("digits", DataConfig(), "train")
    found = evaluate(discrete, digits, samples=1000, limit=30, likelihood=0, training=learnt)
    metrics = [score.metric for score in found.scores]
    assert metrics[-5:] == ["copies", "copies_heldout", "nearest", "nearest_heldout", "copies_latent"]
    assert {score.n_fake for score in found.scores if score.metric in ("copies", "copies_latent")} == {256}
    assert set(found.copies) == {"pixels", "latents"}
    assert found.seconds_per_sample is not None
    assert evaluate(discrete, digits, samples=0, limit=30, likelihood=0, training=learnt).copies == {}


def test_a_model_that_draws_training_pictures_is_told_so(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"denoiser": {"name": "mlp", "width": 16, "depth": 1}}
    model = Model.build(catalog.find("recipes", "flow").recipe().vary(**small), digits.spec)
    learnt = open_dataset("digits", DataConfig(), "train")
    copied = unit(learnt.images(range(60)).numpy())
    monkeypatch.setattr(Model, "sample", lambda self, n, first, **_: copied[first : first + n])
    found = evaluate(model, digits, samples=60, limit=30, likelihood=0, training=learnt, steps=2)
    assert (found["copies"], found["nearest"]) == (1.0, 0.0)
    assert found.copies["pixels"].nearest.index.tolist() == list(range(60))
    assert [note.partition(" samples")[0] for note in found.notes] == ["copies: 100% of 60"]


def test_the_photocopier_stands_beside_the_samples(discrete: Model, digits: Dataset, net: Small) -> None:
    learnt = open_dataset("digits", DataConfig(), "train")
    found = evaluate(discrete, digits, net, samples=40, limit=50, likelihood=0, training=learnt)
    score = {score.metric: score for score in found.scores}
    places = np.linspace(0, len(learnt) - 1, 40).round().astype(int)
    real, copied = (
        net.features(unit(each)) for each in (digits.images(range(50)).numpy(), learnt.images(places).numpy())
    )
    assert score["photocopier_frechet"].value == pytest.approx(frechet(real, copied), rel=1e-6)
    assert score["photocopier_copies"].value == 1.0
    for name in ("frechet", "kid", "precision", "recall", "density", "coverage"):
        assert comparable(score[name], score[f"photocopier_{name}"]) == ["metric"]
    assert score["photocopier_frechet"].value < score["frechet"].value  # of an untrained model


DISTANCES, SHARES = {"frechet", "kid"}, {"precision", "recall", "density", "coverage"}


@pytest.mark.parametrize(
    ("heldout", "dropped", "told"),
    [
        (1, DISTANCES | SHARES, ["1 picture to judge by: no Frechet", "1 picture to judge by: no precision"]),
        (2, SHARES, ["2 pictures to judge by: no precision"]),
        (5, SHARES, ["5 pictures to judge by: no precision, recall, density or coverage, which want 6"]),
        (6, set(), []),
        (50, set(), []),
    ],
)
def test_scores_that_want_more_pictures_drop_out_with_a_note(
    discrete: Model, net: Small, tmp_path: Path, heldout: int, dropped: set[str], told: list[str]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (heldout, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images)
    data = open_dataset(str(tmp_path / "a.npz"), DataConfig(), "all")
    learnt = open_dataset("digits", DataConfig(), "train")
    found = evaluate(discrete, data, net, samples=30, likelihood=0, training=learnt)
    metrics = {score.metric for score in found.scores}
    assert (DISTANCES | SHARES) - metrics == dropped
    assert {f"photocopier_{name}" for name in DISTANCES | SHARES} - metrics == {
        f"photocopier_{name}" for name in dropped
    }
    assert {"psnr", "codebook_usage", "copies", "copies_heldout", "copies_features_heldout"} <= metrics
    assert ("reconstruction_frechet" in metrics) == (heldout > 1)
    assert [note[: len(begin)] for note, begin in zip(found.notes, told, strict=True)] == told
    alone = evaluate(discrete, data, net, samples=0, likelihood=0)
    assert "psnr" in {score.metric for score in alone.scores}


def test_what_is_left_out_is_known_before_anything_is_drawn(
    discrete: Model, digits: Dataset, net: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = open_dataset("digits", DataConfig(), "train")
    assert plan(discrete, True, 1, 10_000, learnt).samples == FEW
    assert plan(discrete, True, 2, 10_000, None).samples == 10_000
    assert plan(discrete, False, 100, 10_000, None).samples == 0
    monkeypatch.setattr(Dataset, "__len__", lambda self: 9)
    small = plan(discrete, False, 100, 10_000, learnt)
    assert (small.samples, small.notes) == (
        0,
        ("9 training pictures: no copies are looked for, which want 10",),
    )
    few = plan(discrete, True, 100, 4, None)
    assert few.notes == ("4 samples: no precision, recall, density or coverage, which want 6",)


def test_any_setting_of_the_prior_goes_through_one_parameter(discrete: Model, digits: Dataset, net: Small) -> None:
    found = evaluate(discrete, digits, net, samples=10, limit=20, sampling={"hop": 2}, top_k=4)
    score = next(score for score in found.scores if score.metric == "frechet")
    assert (score.model["hop"], score.model["top_k"], score.model["temperature"]) == (2, 4, 1.0)
    with pytest.raises(UsageError, match="no setting 'hopp'"):
        evaluate(discrete, digits, net, samples=10, limit=20, sampling={"hopp": 2})
    with pytest.raises(UsageError, match="--sampling top_k: given as --top-k as well"):
        evaluate(discrete, digits, net, samples=10, limit=20, sampling={"top_k": 2}, top_k=4)


def test_pictures_are_priced_where_the_model_gives_a_likelihood(discrete: Model, digits: Dataset) -> None:
    found = evaluate(discrete, digits, limit=20, likelihood=7)
    score = next(score for score in found.scores if score.metric == "bits_per_token_prior")
    assert score.n_real == 7
    assert score.value == pytest.approx(4.0, abs=0.01)  # an untrained transformer says nothing of 16 codes
    metrics = [score.metric for score in evaluate(discrete, digits, limit=20, likelihood=0).scores]
    assert "bits_per_token_prior" not in metrics


def test_a_likelihood_that_costs_one_pass_is_told_unasked(discrete: Model, digits: Dataset) -> None:
    found = evaluate(discrete, digits, limit=20)
    assert "bits_per_token_prior" in [score.metric for score in found.scores]
    assert found.notes == ()


def test_one_that_is_solved_for_is_told_when_asked(digits: Dataset) -> None:
    small = {"denoiser": {"name": "unet", "width": 16, "blocks": 1}, "prior__likelihood_steps": 3}
    model = Model.build(catalog.find("recipes", "flow").recipe().vary(**small), digits.spec)
    plain = evaluate(model, digits, limit=4)
    assert plain.scores == ()
    assert plain.notes == (
        "likelihood: left out, since a picture's costs 30 passes of the net; --likelihood 100 tells it of 100 pictures",
    )
    asked = evaluate(model, digits, limit=4, likelihood=2)
    assert {score.metric: score.n_real for score in asked.scores} == {"nats": 2, "bits_per_dimension": 2}
    assert asked.notes == ()


def test_a_likelihood_asked_of_a_model_without_one_is_refused(vector: Model, digits: Dataset) -> None:
    with pytest.raises(UsageError, match=r"--likelihood 5: .* no likelihood: neither its decoder nor its prior"):
        evaluate(vector, digits, limit=20, likelihood=5, progress=lambda done, total: pytest.fail("too late"))
    assert evaluate(vector, digits, limit=20, likelihood=0).scores


def test_protocols_tell_what_took_effect(digits: Dataset, discrete: Model, net: Small) -> None:
    """The recipe's guidance is none where the prior knows no classes."""
    spec = digits.spec.model_copy(update={"classes": ()})
    classless = Model.build(discrete.recipe, spec)
    found = evaluate(classless, digits, net, samples=10, limit=20, likelihood=0)
    assert next(score for score in found.scores if score.metric == "frechet").model["guidance"] == 1.0
    with pytest.raises(UsageError, match="nothing to guide by"):
        evaluate(classless, digits, net, samples=10, limit=20, guidance=2.0)


def test_a_prior_that_reads_captions_is_given_those_of_the_data_in_turn(tmp_path: Path, net: Small) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, captions=[f"no. {i % 7}" if i % 5 else "" for i in range(30)])
    small = {"denoiser": {"name": "mlp", "width": 16, "depth": 1}, "data__captions": 8}
    model = Model.build(
        catalog.find("recipes", "flow").recipe().vary(**small), DataSpec(shape=(1, 8, 8), classes=("a", "b"))
    )
    assert model.prior is not None
    for weight in model.prior.parameters():
        weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    data = open_dataset(str(tmp_path / "a.npz"), model.recipe.data, "all")
    found = evaluate(model, data, net, samples=33, likelihood=0, steps=2)
    drawn = sample(model, 33, prompt=[*data.captions, *data.captions[:3]], steps=2)
    fake, real = net.features((drawn.pictures * 255).round() / 255), net.features(unit(data.images(range(30)).numpy()))
    assert found["frechet"] == pytest.approx(frechet(real, fake), rel=1e-6)
    assert "recognised" not in [score.metric for score in found.scores]
    plain = open_dataset(str(tmp_path / "a.npz"), DataConfig(), "all")
    assert evaluate(model, plain, net, samples=33, likelihood=0, steps=2)["frechet"] != found["frechet"]
