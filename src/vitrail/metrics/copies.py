"""Copies: how many samples are training pictures, or all but.

No score of sets notices a model that has learnt its training pictures by heart: by precision and Frechet distance they are perfect.
Real pictures that the model never saw say how near to a training picture one may lie by chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.metrics import jackknife
from vitrail.metrics.frechet import checked

CELLS = 1 << 24  # distances in memory at a time: 64 MiB


@dataclass(frozen=True)
class Nearest:
    """Of each of N pictures, the training picture that is nearest to it."""

    index: Tensor  # (N,) of the training picture
    closeness: Tensor  # (N,) distance to it, relative to the mean distance of the nearest `neighbours`


@dataclass(frozen=True)
class Copies:
    """How many samples lie as close to a training picture as hardly any unseen real one does."""

    rate: float  # share of samples; of a model that copies nothing about `expected`
    interval: tuple[float, float] | None  # 95 % of the rate; None for few samples
    expected: float  # the share of unseen real pictures that lie as close
    threshold: float  # of closeness
    closest: Tensor  # (N,) positions of the samples, the most suspicious first
    index: Tensor  # (N,) training picture nearest to each of them, in the same order


def copies(heldout: Nearest, fake: Nearest, *, expected: float = 0.01) -> Copies:
    """Copy rate of samples, by a threshold under which a share `expected` of unseen real pictures lies.

    Of sampled pictures as close as that, `expected` is chance and the rest are copies, or very ordinary pictures.
    Raises UsageError where `expected` is no share, or where there are fewer unseen pictures than it takes to find it.
    Sources: unseen pictures as the measure of what is too near, Meehan, Chaudhuri & Dasgupta 2020, section 3; distances
    relative to the neighbourhood, so that samples from dense regions are not taken for copies, Carlini et al. 2023, section 5.1.
    """
    if not 0 < expected < 1 or len(heldout.closeness) * expected < 1:
        raise UsageError(f"a share of {expected} is not to be found among {len(heldout.closeness)} unseen pictures")
    both = heldout.closeness, fake.closeness
    share = partial(_share_below, expected)
    rate, interval = share(*both), None
    if jackknife.enough(*map(len, both)):
        interval = jackknife.interval(rate, jackknife.left_out(share, *both), 0.0, 1.0)
    order = fake.closeness.argsort(stable=True)
    return Copies(
        rate=rate,
        interval=interval,
        expected=expected,
        threshold=float(heldout.closeness.quantile(expected)),
        closest=order,
        index=fake.index[order],
    )


def _share_below(expected: float, unseen: Tensor, drawn: Tensor) -> float:
    """Share of the drawn at or below the value that a share of the unseen lies below."""
    return float((drawn <= unseen.quantile(expected)).double().mean())


def nearest(features: Tensor, training: Tensor, *, neighbours: int = 50) -> Nearest:
    """The training picture nearest to each picture, and how close it is.

    features: (N, D).   training: (M, D).   Never holds all N x M distances; those to the neighbours are computed exactly,
    so that a copy is at distance 0.   Raises UsageError on unlike widths or fewer than 2 training pictures.
    """
    features, training = checked(features), checked(training)
    if features.shape[1] != training.shape[1] or len(training) < 2:
        wanted = "features of one width, of at least 2 training pictures"
        raise UsageError(f"wants {wanted}, got {tuple(features.shape)} and {tuple(training.shape)}")
    count = min(neighbours, len(training))
    origin = training.mean(0)  # near 0 products lose the fewest digits
    coarse = (training - origin).float()
    half = coarse.square().sum(1) / 2
    found = []
    for rows in features.split(max(1, CELLS // len(training))):
        near = (half - (rows - origin).float() @ coarse.T).topk(count, largest=False).indices  # (rows, count)
        found.append((near, _distances(rows, training, near)))
    near, distance = (torch.cat(parts) for parts in zip(*found, strict=True))
    first = distance.argmin(1, keepdim=True)
    typical = distance.mean(1).clamp_min(torch.finfo(distance.dtype).tiny)
    return Nearest(near.gather(1, first).squeeze(1), distance.gather(1, first).squeeze(1) / typical)


def _distances(rows: Tensor, training: Tensor, near: Tensor) -> Tensor:
    """(B, D), (M, D), positions (B, count) -> (B, count), a few rows at a time."""
    size = max(1, CELLS // (near.shape[1] * rows.shape[1]))
    pairs = zip(rows.split(size), near.split(size), strict=True)
    return torch.cat([(training[places] - some[:, None]).norm(dim=2) for some, places in pairs])
