"""Precision, recall, density and coverage: fidelity and diversity apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.metrics import jackknife
from vitrail.metrics.frechet import checked
from vitrail.metrics.jackknife import FOLDS

NEIGHBOURS = 5  # k where the caller names none
CHUNK = 1024  # rows of a distance matrix in memory at a time
SPARE = 16  # neighbours kept beyond twice k: so many are not left out together by chance


@dataclass(frozen=True)
class Prdc:
    """How well fakes lie among the reals, and how much of the reals they reach."""

    precision: float  # share of fakes within reach of some real, in [0, 1]
    recall: float  # share of reals within reach of some fake, in [0, 1]
    density: float  # reals that reach a fake, over k; can exceed 1
    coverage: float  # share of reals that reach some fake, in [0, 1]
    neighbours: int  # k: each sample reaches as far as its k-th nearest neighbour in its own set


def prdc(real: Tensor, fake: Tensor, *, neighbours: int = NEIGHBOURS) -> Prdc:
    """Precision, recall, density and coverage of features.

    real: (N, D).   fake: (M, D).   Depends on N and M: compare only equal ones.
    Raises UsageError where a set has not more samples than `neighbours`.
    Source: precision, recall Kynkaanniemi et al. 2019, eq. 1-2; density, coverage Naeem et al. 2020, section 3.
    """
    real, fake = checked(real), checked(fake)
    if min(len(real), len(fake)) <= neighbours or real.shape[1] != fake.shape[1]:
        wanted = f"more than {neighbours} samples of one width on each side"
        raise UsageError(f"wants {wanted}, got {tuple(real.shape)} and {tuple(fake.shape)}")
    reach_of_real, reach_of_fake = reach(real, neighbours), reach(fake, neighbours)
    reals_around = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    within_a_fake, reaching_a_fake = 0, 0
    for rows, radius in zip(real.split(CHUNK), reach_of_real.split(CHUNK), strict=True):
        distance = torch.cdist(rows, fake)  # (CHUNK, M)
        reached = distance < radius[:, None]
        reals_around += reached.sum(0)
        reaching_a_fake += int(reached.any(1).sum())
        within_a_fake += int((distance < reach_of_fake).any(1).sum())
    return Prdc(
        precision=float((reals_around > 0).double().mean()),
        recall=within_a_fake / len(real),
        density=float(reals_around.double().mean()) / neighbours,
        coverage=reaching_a_fake / len(real),
        neighbours=neighbours,
    )


def prdc_left_out(real: Tensor, fake: Tensor, *, neighbours: int = NEIGHBOURS) -> dict[str, Tensor]:
    """The four scores (FOLDS,) by name without each part of both sets, for `jackknife.interval`.

    Arguments as in `prdc`. Distances are computed once: pairs farther apart than any reach count in no set.
    """
    real, fake = checked(real), checked(fake)
    parts = jackknife.folds(len(real)).to(real.device), jackknife.folds(len(fake)).to(fake.device)
    reaches = reach_left_out(real, parts[0], neighbours), reach_left_out(fake, parts[1], neighbours)
    around = torch.zeros(FOLDS, len(fake), dtype=torch.int64, device=fake.device)  # reals that reach a fake
    reaching, within = (torch.zeros(FOLDS, len(real), dtype=torch.bool, device=real.device) for _ in range(2))
    longest_real, longest_fake = (each.amax(0) for each in reaches)
    for first in range(0, len(real), CHUNK):
        distance = torch.cdist(real[first : first + CHUNK], fake)
        near = (distance < longest_real[first : first + CHUNK, None]) | (distance < longest_fake)
        row, j = near.nonzero(as_tuple=True)
        apart, i = distance[row, j], row + first
        for fold in range(FOLDS):
            there = (parts[0][i] != fold) & (parts[1][j] != fold)
            reached = there & (apart < reaches[0][fold, i])
            around[fold].index_add_(0, j, reached.long())
            reaching[fold, i[reached]] = True
            within[fold, i[there & (apart < reaches[1][fold, j])]] = True
    kept_real, kept_fake = (torch.stack([part != fold for fold in range(FOLDS)]) for part in parts)
    return {
        "precision": _share(around > 0, kept_fake),
        "recall": _share(within, kept_real),
        "density": _share(around, kept_fake) / neighbours,
        "coverage": _share(reaching, kept_real),
    }


def _share(counts: Tensor, kept: Tensor) -> Tensor:
    """Mean over the samples kept, per row.   counts, kept: (FOLDS, N)."""
    return ((counts * kept).sum(1).double() / kept.sum(1)).cpu()


def reach_left_out(features: Tensor, part: Tensor, neighbours: int) -> Tensor:
    """(FOLDS, N) `reach` without each part, of all samples, those left out too.   part: (N,)."""
    count = min(2 * neighbours + SPARE, len(features))
    found = []
    for rows in features.split(CHUNK):
        near = torch.cdist(rows, features).topk(count, largest=False)
        of = part[near.indices]  # (rows, count); the first is the sample itself
        gone = torch.stack([of == fold for fold in range(FOLDS)])
        gone[:, :, 0] = False
        left = near.values.masked_fill(gone, torch.inf).sort(dim=2).values[:, :, neighbours]
        found.append(torch.minimum(left, near.values[:, -1]))
    return torch.cat(found, dim=1)


def reach(features: Tensor, neighbours: int) -> Tensor:
    """Distance of each sample to its k-th nearest neighbour, itself not counted.   Returns (N,)."""
    nearest = [
        torch.cdist(rows, features).topk(neighbours + 1, largest=False).values[:, -1] for rows in features.split(CHUNK)
    ]
    return torch.cat(nearest)
