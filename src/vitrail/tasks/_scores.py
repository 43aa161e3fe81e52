"""From measurements to scores: each with its protocol and its interval, so that only like is compared with like."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitrail.metrics import codebook, jackknife
from vitrail.metrics.frechet import frechet, frechet_left_out
from vitrail.metrics.inception_score import inception_score
from vitrail.metrics.kid import kid, mmd_left_out
from vitrail.metrics.prdc import prdc, prdc_left_out
from vitrail.metrics.protocol import Score, bootstrap
from vitrail.model.model import Model
from vitrail.networks.features import FeatureNet
from vitrail.networks.features.small import Small
from vitrail.tasks._drawn import Drawn
from vitrail.tasks._seen import HIGHEST, Seen

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
SPLITS = 10  # parts of an inception score
SHARES = {"precision": 1.0, "recall": 1.0, "density": math.inf, "coverage": 1.0}  # and the highest that each can be


def fidelity_scores(model: Model, real: Seen) -> list[Score]:
    """How near reconstructions are to the pictures, value by value; nothing where there are none, or the pictures themselves."""
    if not model.codec.learns or real.psnr is None or real.squared_error is None or real.ssim is None:
        return []
    score = partial(Score, n_real=real.n, size=real.space, channels=model.spec.channels, dtype=DTYPES[model.precision])
    capped = {"highest": HIGHEST}
    return [
        score(metric="psnr", value=float(real.psnr.mean()), interval=_of_mean(real.psnr), settings=capped),
        score(
            metric="psnr_of_mean_error",
            value=_decibels(real.squared_error),
            interval=bootstrap(real.squared_error, _decibels) if real.n > 1 else None,
            settings=capped,
        ),
        score(metric="ssim", value=float(real.ssim.mean()), interval=_of_mean(real.ssim)),
    ]


def codebook_scores(model: Model, real: Seen) -> list[Score]:
    """How the codes are used over the whole set, and how many bits they take; nothing where there are no codes."""
    if real.counts is None:
        return []
    spec, whole = model.codec.latent_spec(), real.counts.sum(0)
    brought = {"levels": spec.levels, "codes": spec.size}
    score = partial(
        Score,
        n_real=real.n,
        size=real.space,
        channels=model.spec.channels,
        dtype=DTYPES[model.precision],
        model=brought,
    )
    use, left = codebook.usage(whole), []
    if jackknife.enough(real.n):
        left = [codebook.usage(whole - part) for part in real.counts]
    tokens = int(whole.sum()) / real.n  # per picture
    rate = tokens * math.log2(spec.size) / math.prod(real.space)
    spread = {name: torch.tensor([getattr(each, name) for each in left]) for name in ("usage", "perplexity", "bits")}
    within = partial(_interval, jackknife.enough(real.n), least=0.0)
    return [
        score(metric="codebook_usage", value=use.usage, interval=within(use.usage, spread["usage"], most=1.0)),
        score(
            metric="codebook_perplexity", value=use.perplexity, interval=within(use.perplexity, spread["perplexity"])
        ),
        score(metric="bits_per_token", value=use.bits, interval=within(use.bits, spread["bits"])),
        score(metric="bits_per_pixel", value=rate, settings={"code": "fixed length"}),
    ]


def set_scores(
    model: Model,
    real: Seen,
    fake: Tensor,
    prefix: str,
    net: FeatureNet,
    seed: int,
    sampler: dict[str, Any],
    *,
    neighbours: bool = False,
    intervals: bool = True,
) -> list[Score]:
    """How near a set of pictures (their features (N, D)) is to the real ones: the distances, and what `neighbours` say."""
    assert real.features is not None
    score, both = partial(_through(net, model, real, len(fake), seed), model=sampler), (real.features, fake)
    intervals = intervals and jackknife.enough(real.n, len(fake))
    within = partial(_interval, intervals)
    apart, distance = frechet(*both), kid(*both, seed=seed)
    left = (frechet_left_out(*both), mmd_left_out(*both)) if intervals else (torch.empty(0), torch.empty(0))
    subsets = {"subsets": distance.subsets, "size": distance.size}
    found = [
        score(metric=f"{prefix}frechet", value=apart, interval=within(apart, left[0], least=0.0)),
        score(metric=f"{prefix}kid", value=distance.mean, interval=within(distance.mean, left[1]), settings=subsets),
    ]
    return found + _neighbour_scores(score, *both, prefix, intervals) if neighbours else found


def _neighbour_scores(score: partial[Score], real: Tensor, fake: Tensor, prefix: str, intervals: bool) -> list[Score]:
    """Precision, recall, density, coverage."""
    near = prdc(real, fake)
    left = prdc_left_out(real, fake) if intervals else dict.fromkeys(SHARES, torch.empty(0))
    settings, within = {"neighbours": near.neighbours}, partial(_interval, intervals, least=0.0)
    return [
        score(
            metric=f"{prefix}{name}",
            value=getattr(near, name),
            interval=within(getattr(near, name), left[name], most=most),
            settings=settings,
        )
        for name, most in SHARES.items()
    ]


def recognition_scores(model: Model, real: Seen, fake: Drawn, net: FeatureNet, seed: int) -> list[Score]:
    """What a classifier says to samples: the inception score; and where its classes are the model's, the share that it takes for
    the class asked for, and how evenly it finds all classes. Its accuracy on real pictures stands beside them."""
    if fake.logits is None:
        return []
    score = partial(_through(net, model, real, len(fake.labels), seed), model=fake.settings)
    found = [_inception(score, fake.logits, seed)] if len(fake.logits) >= 2 * SPLITS else []
    classes = len(model.spec.classes)
    if not isinstance(net, Small) or net.config.classes != classes:
        return found
    guess, asked = fake.logits.argmax(1), fake.labels >= 0
    if bool(asked.any()):
        found.append(_share(score, "recognised", (guess == fake.labels)[asked]))
    evenness = _evenness(classes, guess)
    left = jackknife.left_out(partial(_evenness, classes), guess) if jackknife.enough(len(guess)) else torch.empty(0)
    within = _interval(jackknife.enough(len(guess)), evenness, left, least=0.0, most=1.0)
    found.append(score(metric="class_evenness", value=evenness, interval=within))
    known = real.labels >= 0
    if bool(known.any()) and real.recognised is not None:
        plain = partial(score, n_fake=None, seed=None, model={})
        found.append(_share(plain, "classifier_accuracy", (real.recognised == real.labels)[known]))
    return found


def _inception(score: partial[Score], logits: Tensor, seed: int) -> Score:
    found = inception_score(logits, splits=SPLITS, seed=seed)
    left = torch.empty(0)
    if jackknife.enough(len(logits)):
        left = jackknife.left_out(lambda rows: inception_score(rows, splits=SPLITS, seed=seed).mean, logits)
    within = _interval(jackknife.enough(len(logits)), found.mean, left, least=1.0)
    settings = {"splits": found.splits}
    return score(metric="inception_score", value=found.mean, interval=within, settings=settings, n_real=0)


def _share(score: partial[Score], metric: str, hits: Tensor) -> Score:
    """Of true and false (N,), the share of true."""
    return score(metric=metric, value=float(hits.double().mean()), interval=_of_mean(hits.double()))


def _evenness(classes: int, guess: Tensor) -> float:
    """Entropy of the classes (N,) found, relative to that of all alike."""
    shares = torch.bincount(guess, minlength=classes).double() / len(guess)
    return float(torch.special.entr(shares).sum()) / math.log(classes)


def _decibels(squared_error: Tensor) -> float:
    return -10 * math.log10(max(float(squared_error.mean()), 10 ** (-HIGHEST / 10)))


def _of_mean(values: Tensor) -> tuple[float, float] | None:
    """None of a single sample."""
    return bootstrap(values) if len(values) > 1 else None


def _interval(
    wanted: bool, value: float, without: Tensor, least: float = -math.inf, most: float = math.inf
) -> tuple[float, float] | None:
    """None where it is not wanted, as of too few samples."""
    return jackknife.interval(value, without, least, most) if wanted else None


def _through(net: FeatureNet, model: Model, real: Seen, count: int, seed: int) -> partial[Score]:
    """A score of `count` pictures of the model against the real ones, seen through a feature net."""
    return partial(
        Score,
        n_real=real.n,
        n_fake=count,
        features=net.name,
        features_sha256=net.sha256,
        size=real.space,
        channels=model.spec.channels,
        dtype=DTYPES[model.precision],
        seed=seed,
    )
