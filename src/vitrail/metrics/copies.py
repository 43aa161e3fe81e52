"""Copies: how many samples are training pictures, or all but.

No score of sets notices a model that has learnt its training pictures by heart: by precision and Frechet distance they are perfect.
Real pictures that the model never saw say how near to a training picture one may lie by chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from vitrail.errors import DataError, UsageError

CELLS = 1 << 24  # distances in memory at a time: 64 MiB
NEIGHBOURS = 50  # training pictures that a distance is measured against
REFINED = 16  # of them, to which it is computed exactly
CHANCE = 0.01  # share of unseen pictures that lie as near to a training picture as what counts as a copy
PAIR = 2  # training pictures at least below the threshold: each other's nearest come in twos
LEAST = 10  # training pictures, below which no threshold is found
# A share of copies is told as a fault where it is above EVIDENT, above TIMES the held-out one, and comes less often by chance.
EVIDENT, TIMES, IMPROBABLE = 0.05, 2, 0.003
Z_95 = 1.96  # standard errors of a 95 % interval

Refine = Callable[
    [Tensor, Tensor], Tensor
]  # values (B, D), positions (B, K) of training pictures -> their distances (B, K)


@dataclass(frozen=True)
class Nearest:
    """Of each of N pictures, the training picture that is nearest to it."""

    index: Tensor  # (N,) of the training picture
    distance: Tensor  # (N,) root mean square over the D values
    closeness: Tensor  # (N,) that, relative to the mean distance of the nearest `neighbours`


@dataclass(frozen=True)
class Share:
    """How many of n pictures lie at most as near as the threshold."""

    value: float
    interval: tuple[float, float]  # 95 %
    n: int


@dataclass(frozen=True)
class Copies:
    """How many samples lie as close to a training picture as hardly any unseen real one does."""

    samples: Share  # of a model that copies nothing, about `expected`
    heldout: Share  # the same of real pictures that were not learnt from: they had no part in the threshold
    expected: float  # share of unseen pictures below the threshold, by the training pictures
    threshold: float  # of closeness
    controls: int  # training pictures that the threshold is from
    nearest: Nearest  # of the samples
    median: float  # distance of samples to their nearest training picture
    median_heldout: float

    @property
    def closest(self) -> Tensor:
        """(N,) positions of the samples, the most suspicious first."""
        return self.nearest.closeness.argsort(stable=True)

    @property
    def probability(self) -> float:
        """Of as many copies or more, where the samples are like unseen pictures and the threshold is as uncertain as it is."""
        below = self.expected * (self.controls + 1)
        return tail(
            round(self.samples.value * self.samples.n), self.samples.n, below / PAIR, (self.controls + 1 - below) / PAIR
        )

    @property
    def evident(self) -> bool:
        """Whether more samples are copies than chance explains, more than 5 %, and more than twice the share of held-out ones."""
        more = self.samples.value > max(EVIDENT, TIMES * self.heldout.value)
        return more and self.probability < IMPROBABLE


def copies(training: Nearest, heldout: Nearest, samples: Nearest, *, raw: Nearest | None = None) -> Copies:
    """Shares of copies, by a threshold under which about CHANCE of unseen real pictures lies.

    training: of training pictures, the nearest *other* one (`nearest(..., own=...)`).   raw: the same, looked at as the held-out
    pictures are, where that is otherwise than the samples: these then have a threshold of their own.
    A held-out part of 5 to 50 pictures has no 1 % quantile, and the training set has one: to an unseen picture the training
    pictures are what all others are to one of them, so up to one picture in so many its closeness is distributed like theirs.
    The threshold is the k-th smallest of these M values, k = max(2, M / 100), and `expected` is k / (M + 1), the share of fresh
    values below the k-th smallest of M.
    Why 2 at least: two pictures that are each other's nearest are at one distance, so the smallest value all but comes twice.
    The held-out pictures have no part in the threshold, so their share is a check of it, not 1 % by construction.

    Closeness is relative, so that samples from dense regions are not taken for copies.
    Raises UsageError where there are fewer than LEAST training pictures.
    Sources: unseen pictures as the measure of what is too near, Meehan, Chaudhuri & Dasgupta 2020, section 3; distances
    relative to the neighbourhood, Carlini et al. 2023, section 5.1.
    """
    threshold, count = _threshold(training), len(training.closeness)
    return Copies(
        samples=_share_below(threshold, samples),
        heldout=_share_below(threshold if raw is None else _threshold(raw), heldout),
        expected=int((training.closeness <= threshold).sum()) / (count + 1),
        threshold=threshold,
        controls=count,
        nearest=samples,
        median=float(samples.distance.median()),
        median_heldout=float(heldout.distance.median()),
    )


def _threshold(training: Nearest) -> float:
    """The k-th smallest closeness. Raises UsageError, see `copies`."""
    count = len(training.closeness)
    if count < LEAST:
        raise UsageError(f"copies are found by {LEAST} training pictures or more, got {count}")
    return float(training.closeness.sort().values[max(PAIR, int(CHANCE * count)) - 1])


def tail(hits: int, n: int, a: float, b: float) -> float:
    """Probability of `hits` or more of n, whose chance is itself distributed as Beta(a, b).

    Of fresh values below the k-th smallest of M others these are k and M + 1 - k (Wilks 1941); halved where values come in pairs.
    """
    whole = math.lgamma(n + 1) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - math.lgamma(a + b + n)
    each = (
        math.lgamma(x + a) + math.lgamma(n - x + b) - math.lgamma(x + 1) - math.lgamma(n - x + 1)
        for x in range(hits, n + 1)
    )
    return min(1.0, math.fsum(math.exp(whole + log) for log in each))


def _share_below(threshold: float, found: Nearest) -> Share:
    hits, n = int((found.closeness <= threshold).sum()), len(found.closeness)
    return Share(hits / n, interval_of_share(hits, n), n)


def interval_of_share(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share of n; also for few, and where none or all are hits.   Source: Wilson 1927."""
    share, spread = hits / n, Z_95**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = Z_95 / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def nearest(
    items: Tensor,
    training: Tensor | tuple[Tensor, ...],
    *,
    own: Tensor | None = None,
    refine: Refine | None = None,
    neighbours: int = NEIGHBOURS,
) -> Nearest:
    """The training picture nearest to each picture, and how close it is.

    items: (N, D).   training: (M, D), or several forms of all of them, mirrored ones say: the nearest form counts.
    own: (N,) for items that are training pictures, which of them: it does not count as its own neighbour.
    refine: distances to the REFINED nearest ones in other forms, such as pictures moved a little; the smaller one counts.
    Never holds all N x M distances. Those to the REFINED nearest are computed from differences, so that a copy is at distance 0.
    Raises UsageError on unlike widths or fewer than 2 neighbours, DataError on values that are not finite.
    """
    whole = tuple(map(_checked, training if isinstance(training, tuple) else (training,)))
    items, size = _checked(items), len(whole[0])
    count = min(neighbours, size - (own is not None))
    if items.shape[1] != whole[0].shape[1] or count < 2:
        wanted = "values of one width, of at least 2 training pictures beside its own"
        raise UsageError(f"wants {wanted}, got {tuple(items.shape)} and {tuple(whole[0].shape)}")
    origin = whole[0].mean(0)  # near 0 products lose the fewest digits
    centred = [form - origin for form in whole]
    halves = [form.square().sum(1) / 2 for form in centred]
    step = max(1, CELLS // size)
    found = []
    for first in range(0, len(items), step):
        rows = items[first : first + step]
        here = rows - origin
        least = (
            halves[0] - here @ centred[0].T
        )  # (rows, M) half the squared distance, less that of the row to the origin
        for half, form in zip(halves[1:], centred[1:], strict=True):
            least = torch.minimum(least, half - here @ form.T)
        if own is not None:
            least[torch.arange(len(rows)), own[first : first + step]] = torch.inf
        near = least.topk(count, largest=False)
        squares = 2 * near.values + here.square().sum(1, keepdim=True)
        places = near.indices[:, :REFINED]
        found.append((places, _exact(rows, whole, places, refine), squares.clamp_min(0).sqrt().mean(1)))
    places, distance, typical = (torch.cat(parts) for parts in zip(*found, strict=True))
    return _nearest(places, distance, typical, math.sqrt(items.shape[1]))


def _nearest(places: Tensor, distance: Tensor, typical: Tensor, scale: float) -> Nearest:
    """places, distance: (N, REFINED).   typical: (N,) mean distance of the neighbours.   scale: of a distance, to be 1 a value."""
    first = distance.argmin(1, keepdim=True)
    least = distance.gather(1, first).squeeze(1)
    typical = typical.to(least).clamp_min(torch.finfo(least.dtype).tiny)
    return Nearest(places.gather(1, first).squeeze(1), least / scale, least / typical)


def _exact(rows: Tensor, training: tuple[Tensor, ...], places: Tensor, refine: Refine | None) -> Tensor:
    """(B, D), positions (B, K) -> (B, K) distance to the nearest form, a few rows at a time."""
    size = max(1, CELLS // (places.shape[1] * rows.shape[1]))
    found = []
    for some, near in zip(rows.split(size), places.split(size), strict=True):
        each = [(form[near] - some[:, None]).norm(dim=2) for form in training]
        found.append(reduce(torch.minimum, [*each, refine(some, near)] if refine else each))
    return torch.cat(found)


def _checked(values: Tensor) -> Tensor:
    """(N, D) floats. Raises UsageError on another shape, DataError on values that are not finite."""
    if values.ndim != 2 or not len(values):
        raise UsageError(f"wants values (N, D) with N >= 1, got {tuple(values.shape)}")
    if not bool(values.isfinite().all()):
        raise DataError(
            "values of some pictures are not finite, so no nearest one is found; look at these pictures first"
        )
    return values.detach() if values.dtype == torch.float64 else values.detach().float()
