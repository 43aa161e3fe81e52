"""Intervals of scores of whole sets, which are no means of their samples: by leaving out a part of the samples at a time.

Why not the bootstrap: it draws samples again with repetition, so a set holds some 63 % of its samples, many of them twice. The
same sample twice is no news to a covariance, at no distance from itself, and its own nearest neighbour: Frechet distance and
KID come out too high, recall and coverage too low, and the interval often does not even hold the score itself. For estimates by
nearest neighbours the bootstrap is not even consistent (Abadie & Imbens 2008).

Leaving out repeats no sample. With FOLDS parts left out in turn, each set is smaller by the same twentieth, so the bias of
smaller sets is the same in all of them: it moves their mean, which is not used, and not their spread, which is. Leaving out many
samples at a time rather than one makes it hold for scores that jump, too, as quantiles and neighbourhoods do (Shao & Wu 1989).
Real pictures and the model's are left out together: where they are independent, so are their contributions, and the variances
add up; where they are pairs, pairs are left out.

The interval is around the score as measured. It says how far other samples, as many, would have moved it; not what the score
would be of infinitely many.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

FOLDS = 20
LEAST = 2 * FOLDS  # samples of a set, below which a spread over folds says nothing
T_95 = 2.093  # 97.5 % quantile of Student's t with FOLDS - 1 degrees of freedom


def folds(n: int, seed: int = 0) -> Tensor:
    """(N,) int64 below FOLDS: the part of each sample; sizes differ by 1 at most. At random, as samples may be sorted by class."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    part = torch.empty(n, dtype=torch.int64)
    part[order] = torch.arange(n) % FOLDS
    return part


def enough(*sizes: int) -> bool:
    """Whether sets of these sizes have intervals."""
    return min(sizes) >= LEAST


def left_out(statistic: Callable[..., float], *sets: Tensor) -> Tensor:
    """(FOLDS,) a statistic of one or several sets (N, ...), computed anew without each part of them."""
    parts = [folds(len(each)) for each in sets]
    kept = ([rows[part != fold] for rows, part in zip(sets, parts, strict=True)] for fold in range(FOLDS))
    return torch.tensor([statistic(*rows) for rows in kept], dtype=torch.float64)


def interval(
    value: float, without: Tensor, least: float = -torch.inf, most: float = torch.inf
) -> tuple[float, float] | None:
    """95 % interval of a score, cut to the range that it can have; None where some fold has no finite score.

    without: (FOLDS,) the score with each part left out.   Source: Efron & Tibshirani 1993, section 11.5, for groups.
    """
    without = without.double()
    if not bool(without.isfinite().all()):
        return None
    count = len(without)
    error = float(((count - 1) / count * (without - without.mean()).square().sum()).sqrt())
    return max(value - T_95 * error, least), min(value + T_95 * error, most)
