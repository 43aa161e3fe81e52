"""From measurements to scores: each with its protocol, so that only like is compared with like."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vitrail.metrics import codebook
from vitrail.metrics.frechet import frechet
from vitrail.metrics.kid import kid
from vitrail.metrics.prdc import prdc
from vitrail.metrics.protocol import Score, bootstrap
from vitrail.model.model import Model
from vitrail.networks.features import FeatureNet
from vitrail.networks.features.small import Small
from vitrail.tasks._drawn import Drawn
from vitrail.tasks._seen import HIGHEST, Seen


def fidelity_scores(model: Model, real: Seen) -> list[Score]:
    """How near reconstructions are to the pictures, value by value; nothing where there are none."""
    if real.psnr is None or real.squared_error is None or real.ssim is None:
        return []
    score = partial(Score, n_real=real.n, size=real.space, channels=model.spec.channels)
    capped = {"highest": HIGHEST}
    of_mean = -10 * math.log10(max(float(real.squared_error.mean()), 10 ** (-HIGHEST / 10)))
    return [
        score(metric="psnr", value=float(real.psnr.mean()), interval=bootstrap(real.psnr), settings=capped),
        score(metric="psnr_of_mean_error", value=of_mean, settings=capped),
        score(metric="ssim", value=float(real.ssim.mean()), interval=bootstrap(real.ssim)),
    ]


def codebook_scores(model: Model, real: Seen) -> list[Score]:
    """How the codes are used over the whole set, and how many bits they take; nothing where there are no codes."""
    if real.counts is None:
        return []
    use, spec = codebook.usage(real.counts), model.codec.latent_spec()
    score = partial(Score, n_real=real.n, size=real.space, channels=model.spec.channels)
    settings = {"levels": spec.levels, "codes": spec.size}
    tokens = int(real.counts.sum()) / real.n  # per picture
    rate = tokens * math.log2(spec.size) / math.prod(real.space)
    return [
        score(metric="codebook_usage", value=use.usage, settings=settings),
        score(metric="codebook_perplexity", value=use.perplexity, settings=settings),
        score(metric="bits_per_token", value=use.bits, settings=settings),
        score(metric="bits_per_pixel", value=rate, settings={**settings, "code": "fixed length"}),
    ]


def set_scores(
    model: Model, real: Seen, fake: Tensor | None, prefix: str, net: FeatureNet, seed: int, sampler: dict[str, Any]
) -> list[Score]:
    """How near a set of pictures (their features (N, D)) is to the real ones; of reconstructions the distances only."""
    assert real.features is not None
    assert fake is not None
    score = _through(net, model, real, len(fake), seed)
    distance = kid(real.features, fake, seed=seed)
    subsets = {"subsets": distance.subsets, "size": distance.size}
    found = [
        score(metric=f"{prefix}frechet", value=frechet(real.features, fake), settings=sampler),
        score(metric=f"{prefix}kid", value=distance.mean, settings={**sampler, **subsets}),
    ]
    if prefix:
        return found
    near = prdc(real.features, fake)
    names = ("precision", "recall", "density", "coverage")
    settings = {**sampler, "neighbours": near.neighbours}
    return found + [score(metric=name, value=getattr(near, name), settings=settings) for name in names]


def recognition_scores(model: Model, real: Seen, fake: Drawn, net: FeatureNet, seed: int) -> list[Score]:
    """What a classifier says to samples: the share that it takes for the class asked for, and how evenly it finds all classes.

    Its accuracy on real pictures stands beside them.
    """
    classes = len(model.spec.classes)
    if not isinstance(net, Small) or net.config.classes != classes or fake.recognised is None:
        return []
    score, found = _through(net, model, real, len(fake.labels), seed), []
    asked, known = fake.labels >= 0, real.labels >= 0
    if bool(asked.any()):
        share = float((fake.recognised == fake.labels)[asked].double().mean())
        found.append(score(metric="recognised", value=share, settings=fake.settings))
    shares = torch.bincount(fake.recognised, minlength=classes).double() / len(fake.recognised)
    evenness = float(torch.special.entr(shares).sum()) / math.log(classes)
    found.append(score(metric="class_evenness", value=evenness, settings=fake.settings))
    if bool(known.any()) and real.recognised is not None:
        accuracy = float((real.recognised == real.labels)[known].double().mean())
        found.append(score(metric="classifier_accuracy", value=accuracy, n_fake=None, seed=None))
    return found


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
        seed=seed,
    )
