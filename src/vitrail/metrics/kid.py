"""Kernel distance between two sets of features (KID, where the net is Inception)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.metrics import jackknife
from vitrail.metrics.frechet import checked

CHUNK = 2048  # rows of a kernel matrix in memory at a time


@dataclass(frozen=True)
class KernelDistance:
    """Mean and spread of the squared distance over random subsets."""

    mean: float
    std: float  # over subsets, not of the mean; 0 for a single one
    subsets: int
    size: int  # samples per subset and side


def kid(real: Tensor, fake: Tensor, *, subsets: int = 100, size: int = 1000, seed: int = 0) -> KernelDistance:
    """Kernel distance as it is usually reported: the mean over random subsets drawn without repetition.

    real, fake: (N, D).   A smaller set than `size` shrinks the subsets, which changes the spread but not the
    expectation, as the estimate is unbiased.   Raises UsageError on fewer than 2 samples or unlike widths.
    Source: Binkowski, Sutherland, Arbel, Gretton 2018, section 4.
    """
    real, fake = checked(real), checked(fake)
    size = min(size, len(real), len(fake))
    generator = torch.Generator().manual_seed(seed)

    def draw(features: Tensor) -> Tensor:
        return features[torch.randperm(len(features), generator=generator)[:size].to(features.device)]

    distances = torch.tensor([squared_mmd(draw(real), draw(fake)) for _ in range(subsets)], dtype=torch.float64)
    return KernelDistance(float(distances.mean()), float(distances.std(correction=0)), subsets, size)


def squared_mmd(real: Tensor, fake: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy of whole sets; can be slightly negative.

    real: (N, D).   fake: (M, D).   Source: Gretton et al. 2012, eq. 3.
    """
    real, fake = checked(real), checked(fake)
    n, m = len(real), len(fake)
    if min(n, m) < 2 or real.shape[1] != fake.shape[1]:
        raise UsageError(f"wants at least 2 samples of one width on each side, got {real.shape} and {fake.shape}")
    within_real = (kernel_sum(real, real) - float(kernel_diagonal(real).sum())) / (n * (n - 1))
    within_fake = (kernel_sum(fake, fake) - float(kernel_diagonal(fake).sum())) / (m * (m - 1))
    return within_real + within_fake - 2 * kernel_sum(real, fake) / (n * m)


def mmd_left_out(real: Tensor, fake: Tensor) -> Tensor:
    """(FOLDS,) `squared_mmd` of whole sets without each part of both, for `jackknife.interval`.

    real: (N, D).   fake: (M, D).   Every pair is looked at once: sums over pairs of parts give all the sets that lack one.
    """
    (real, real_parts), (fake, fake_parts) = _sorted_by_part(checked(real)), _sorted_by_part(checked(fake))
    n, m = len(real) - real_parts, len(fake) - fake_parts  # (FOLDS,) sizes of what is left
    within_real = _left(_part_sums(real, real, real_parts, real_parts)) - _left_diagonal(real, real_parts)
    within_fake = _left(_part_sums(fake, fake, fake_parts, fake_parts)) - _left_diagonal(fake, fake_parts)
    between = _left(_part_sums(real, fake, real_parts, fake_parts))
    return within_real / (n * (n - 1)) + within_fake / (m * (m - 1)) - 2 * between / (n * m)


def _sorted_by_part(features: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of one part next to each other, and how many each part has (FOLDS,)."""
    part = jackknife.folds(len(features))
    return features[part.argsort().to(features.device)], torch.bincount(part, minlength=jackknife.FOLDS)


def _part_sums(x: Tensor, y: Tensor, parts_x: Tensor, parts_y: Tensor) -> Tensor:
    """(FOLDS, FOLDS) sums of the kernel over the pairs of two parts; rows sorted by part."""
    pieces, found = y.split(parts_y.tolist()), torch.zeros(len(parts_x), len(parts_y), dtype=torch.float64)
    for i, rows in enumerate(x.split(parts_x.tolist())):
        for j in range(i if x is y else 0, len(pieces)):
            found[i, j] = kernel_sum(rows, pieces[j])
    return found + found.triu(1).T if x is y else found


def _left(sums: Tensor) -> Tensor:
    """(FOLDS, FOLDS) sums over pairs of parts -> (FOLDS,) sums over the pairs in which neither is of that part."""
    return sums.sum() - sums.sum(0) - sums.sum(1) + sums.diagonal()


def _left_diagonal(features: Tensor, parts: Tensor) -> Tensor:
    """(FOLDS,) sum of the kernel of each sample with itself, without those of each part."""
    each = torch.stack([piece.sum() for piece in kernel_diagonal(features).split(parts.tolist())])
    return (each.sum() - each).cpu()


def kernel_sum(x: Tensor, y: Tensor) -> float:
    """Sum over all pairs of k(a, b) = (a.b / D + 1)^3, without the whole matrix."""
    return sum(float((rows @ y.T / x.shape[1] + 1).pow(3).sum()) for rows in x.split(CHUNK))


def kernel_diagonal(x: Tensor) -> Tensor:
    """k(a, a) of each row.   x: (N, D).   Returns (N,)."""
    return (x.square().sum(1) / x.shape[1] + 1).pow(3)
