from __future__ import annotations

import math

import pytest
import torch

from vitrail.data.dataset import Dataset
from vitrail.data.loader import unit
from vitrail.errors import DataError, UsageError
from vitrail.metrics.frechet import frechet
from vitrail.metrics.protocol import comparable
from vitrail.metrics.ssim import ssim
from vitrail.model.model import Model
from vitrail.networks.features.small import Config, Small
from vitrail.tasks.evaluate import evaluate
from vitrail.tasks.sample import sample


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
    assert (score.n_real, score.n_fake, score.seed, score.settings["temperature"]) == (50, 40, 5, 0.7)


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
    evaluate(discrete, digits, net, samples=10, limit=20, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(20, 30), (30, 30)]


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
