"""Copies of training pictures among samples, and what a photocopier would score: the training set itself, taken for samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.metrics.copies import Copies, copies, nearest
from vitrail.metrics.prdc import NEIGHBOURS
from vitrail.metrics.protocol import Score
from vitrail.model.model import Model
from vitrail.model.nearest import CONTROLS, HELDOUT, look_up, searched, spread
from vitrail.networks.features import FeatureNet
from vitrail.tasks._drawn import Drawn
from vitrail.tasks._scores import DTYPES, set_scores
from vitrail.tasks._seen import Seen, featured

SPACES = {
    "pixels": "copies",
    "latents": "copies_latent",
    "features": "copies_features",
}  # and the names of their scores
NEAREST = "nearest"  # distance in pixels
PHOTOCOPIER = "photocopier_"


def read(model: Model, training: Dataset, data: Dataset, net: FeatureNet | None) -> int:
    """How many pictures are read to look for copies."""
    return searched(model, len(training)) + min(HELDOUT, len(data)) + (0 if net is None else len(training))


def copies_found(
    model: Model,
    real: Seen,
    fake: Drawn,
    training: Dataset,
    data: Dataset,
    learnt: Tensor | None,
    report: Callable[[int], None],
) -> dict[str, Copies]:
    """By space. learnt: (M, D) features of the training pictures, where there is a feature net."""
    assert fake.looks is not None
    found = look_up(model, fake.looks, training, data, report=report)
    if learnt is not None and real.features is not None and fake.features is not None:
        controls = torch.from_numpy(spread(len(learnt), CONTROLS))
        find = partial(nearest, training=learnt)
        others = find(learnt[controls], own=controls)
        found["features"] = copies(others, find(real.features), find(fake.features))
    return found


def features_of(
    model: Model, training: Dataset, net: FeatureNet | None, report: Callable[[int], None]
) -> Tensor | None:
    """(M, D) of the training pictures; None without a feature net."""
    return None if net is None else featured(model, training, net, report)


def copy_scores(
    model: Model, found: dict[str, Copies], real: Seen, fake: Drawn, net: FeatureNet | None, seed: int, training: int
) -> list[Score]:
    """The share of copies among samples and among held-out pictures in each space, and how far both are from training pictures."""
    scores: list[Score] = []
    plain = partial(Score, size=real.space, channels=model.spec.channels, dtype=DTYPES[model.precision])
    for space, each in found.items():
        score = partial(plain, n_real=each.heldout.n, settings={"training": training})
        if space == "features" and net is not None:
            score = partial(score, features=net.name, features_sha256=net.sha256)
        drawn = partial(score, n_fake=each.samples.n, seed=seed, model=fake.settings)
        name, mine, its = SPACES[space], each.samples, each.heldout
        scores.append(drawn(metric=name, value=mine.value, interval=mine.interval))
        if space == "latents":
            continue  # held-out pictures are judged by what they are, not by what the codec makes of them
        expected = {"expected": round(each.expected, 4)}  # of the data, and of what the codec makes equal
        scores.append(score(metric=f"{name}_heldout", value=its.value, interval=its.interval, model=expected))
        if space == "pixels":
            scores.append(drawn(metric=NEAREST, value=each.median))
            scores.append(score(metric=f"{NEAREST}_heldout", value=each.median_heldout))
    return scores


def evident_in(found: dict[str, Copies]) -> tuple[str, ...]:
    """A line for every space in which more samples are copies than chance explains."""
    return tuple(
        f"copies: {each.samples.value:.0%} of {each.samples.n} samples are copies of training pictures or nearly so, seen in "
        f"{space}, where chance makes {each.expected:.1%}: the model has learnt pictures by heart"
        for space, each in found.items()
        if each.evident
    )


def photocopier_scores(model: Model, real: Seen, learnt: Tensor, net: FeatureNet, seed: int, count: int) -> list[Score]:
    """What the training set scores as samples, evenly spaced pictures of it, as many as there are samples where it has as many."""
    some = learnt[torch.from_numpy(spread(len(learnt), count))]
    near = min(real.n, len(some)) > NEIGHBOURS
    scores = set_scores(model, real, some, PHOTOCOPIER, net, seed, {}, neighbours=near, intervals=False)
    whole = Score(
        metric=f"{PHOTOCOPIER}copies", value=1.0, n_real=real.n, n_fake=len(some)
    )  # each is at distance 0 of itself
    return [*scores, whole]
