"""Precision, recall, density and coverage: fidelity and diversity apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.metrics.frechet import checked

CHUNK = 1024  # rows of a distance matrix in memory at a time


@dataclass(frozen=True)
class Prdc:
    """How well fakes lie among the reals, and how much of the reals they reach."""

    precision: float  # share of fakes within reach of some real, in [0, 1]
    recall: float  # share of reals within reach of some fake, in [0, 1]
    density: float  # reals that reach a fake, over k; can exceed 1
    coverage: float  # share of reals that reach some fake, in [0, 1]
    neighbours: int  # k: each sample reaches as far as its k-th nearest neighbour in its own set


def prdc(real: Tensor, fake: Tensor, *, neighbours: int = 5) -> Prdc:
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


def reach(features: Tensor, neighbours: int) -> Tensor:
    """Distance of each sample to its k-th nearest neighbour, itself not counted.   Returns (N,)."""
    nearest = [
        torch.cdist(rows, features).topk(neighbours + 1, largest=False).values[:, -1] for rows in features.split(CHUNK)
    ]
    return torch.cat(nearest)
