"""Frechet distance between two sets of features, taken as normal distributions (FID, where the net is Inception)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from vitrail.errors import DataError, UsageError
from vitrail.metrics import jackknife


@dataclass(frozen=True)
class Statistics:
    """Count, mean and scatter of features, float64; batches are added with `merge`.

    A value, not an accumulator: `seen = seen.merge(Statistics.of(batch))`. Merging shifts nothing to a common origin
    that could cancel.   Source: Chan, Golub, LeVeque 1979.
    """

    n: int
    mean: Tensor  # (D,)
    scatter: Tensor  # (D, D), sum of outer products of the deviations from the mean

    @classmethod
    def of(cls, features: Tensor) -> Statistics:
        """Statistics of one batch (B, D), B >= 1.   Raises DataError on values that are not finite."""
        features = checked(features)
        mean = features.mean(0)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def merge(self, other: Statistics) -> Statistics:
        """Statistics of both sets together; up to rounding the order does not matter."""
        n = self.n + other.n
        gap = other.mean - self.mean
        mean = self.mean + gap * (other.n / n)
        between = torch.outer(gap, gap) * (self.n * other.n / n)
        return Statistics(n, mean, self.scatter + other.scatter + between)

    def without(self, part: Statistics) -> Statistics:
        """The inverse of `merge`: what is left when a part is taken out again, at least one sample."""
        n = self.n - part.n
        mean = self.mean + (self.mean - part.mean) * (part.n / n)
        gap = part.mean - mean
        return Statistics(n, mean, self.scatter - part.scatter - torch.outer(gap, gap) * (n * part.n / self.n))

    @property
    def covariance(self) -> Tensor:
        """Sample covariance (D, D), divided by n - 1.   Raises UsageError on fewer than 2 features."""
        if self.n < 2:
            raise UsageError(f"a covariance needs at least 2 samples, got {self.n}")
        return self.scatter / (self.n - 1)


def frechet(real: Tensor | Statistics, fake: Tensor | Statistics) -> float:
    """Frechet distance of two feature sets (N, D), or of their statistics.

    Biased upwards by an amount that shrinks as 1/N, so only figures of equal N compare.
    Raises UsageError on fewer than 2 samples or unlike widths, DataError on values that are not finite.
    Source: Heusel et al. 2017, eq. 6.
    """
    real = real if isinstance(real, Statistics) else Statistics.of(real)
    fake = fake if isinstance(fake, Statistics) else Statistics.of(fake)
    return frechet_of_normals(real.mean, real.covariance, fake.mean, fake.covariance)


def frechet_left_out(real: Tensor, fake: Tensor) -> Tensor:
    """(FOLDS,) the distance without each part of both sets, for `jackknife.interval`; features (N, D) as in `frechet`."""
    (whole_real, parts_real), (whole_fake, parts_fake) = _in_parts(real), _in_parts(fake)
    pairs = zip(parts_real, parts_fake, strict=True)
    return torch.tensor([frechet(whole_real.without(a), whole_fake.without(b)) for a, b in pairs], dtype=torch.float64)


def _in_parts(features: Tensor) -> tuple[Statistics, list[Statistics]]:
    """Statistics of a set, and of each of its parts."""
    part = jackknife.folds(len(features)).to(features.device)
    parts = [Statistics.of(features[part == fold]) for fold in range(jackknife.FOLDS)]
    return reduce(Statistics.merge, parts), parts


def frechet_of_normals(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """Squared 2-Wasserstein distance of N(mean_a, covariance_a) and N(mean_b, covariance_b), never below 0.

    mean: (D,).   covariance: (D, D).   Source: Dowson & Landau 1982.
    tr (A B)^1/2 is the sum of the singular values of A^1/2 B^1/2: unlike a general matrix root it needs symmetric
    eigen-decompositions only, stays real, and is exact for singular covariances (fewer samples than features).
    """
    if mean_a.shape != mean_b.shape:
        raise UsageError(f"features of one width are compared, got {len(mean_a)} and {len(mean_b)}")
    gap = (mean_a.double() - mean_b.double()).square().sum()
    root_a, root_b = square_root(covariance_a), square_root(covariance_b)
    shared = torch.linalg.svdvals(root_a @ root_b).sum()
    distance = gap + root_a.square().sum() + root_b.square().sum() - 2 * shared
    return max(float(distance), 0.0)


def square_root(covariance: Tensor) -> Tensor:
    """Symmetric root of a positive semi-definite matrix, float64; eigenvalues below rounding count as 0."""
    values, vectors = torch.linalg.eigh(covariance.double())
    rounding = values.abs().max() * len(values) * torch.finfo(torch.float64).eps
    values = torch.where(values > rounding, values, 0.0)
    return (vectors * values.sqrt()) @ vectors.T


def checked(features: Tensor) -> Tensor:
    """Features (N, D) in float64.   Raises UsageError on another shape, DataError on values that are not finite."""
    if features.ndim != 2 or not len(features):
        raise UsageError(f"wants features (N, D) with N >= 1, got {tuple(features.shape)}")
    features = features.detach().double()
    if not bool(features.isfinite().all()):
        broken = int((~features.isfinite()).any(1).sum())
        raise DataError(f"features of {broken} of {len(features)} samples are not finite; look at these pictures first")
    return features
