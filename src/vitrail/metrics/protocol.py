"""A score together with how it was measured, so that only like is compared with like."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from vitrail.errors import UsageError

RESULT = ("value", "interval", "model")  # every other field of a Score is its protocol


def installed_version() -> str:
    """Version of vitrail that measured; "unknown" where it runs from sources that were never installed."""
    try:
        return importlib.metadata.version("vitrail")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One figure and its protocol. A field that does not apply to the metric stays None."""

    metric: str  # "psnr", "frechet", "kid" ...
    value: float
    interval: tuple[float, float] | None = None  # 95 %; None where it was not measured
    n_real: int  # samples of the data
    n_fake: int | None = None  # samples of the model; None where each real one has its reconstruction
    features: str | None = None  # name of the feature net
    features_sha256: str | None = None  # of its weight file
    size: tuple[int, ...] | None = None  # space axes of the samples as compared
    channels: int | None = None
    dtype: str = "float32"  # of the arithmetic of the model; the feature net computes in float32
    seed: int | None = None  # of samples and subsets
    settings: dict[str, Any] = field(default_factory=dict)  # of the metric: neighbours, subset size ...
    model: dict[str, Any] = field(
        default_factory=dict
    )  # what it brings along: settings of its sampler, size of its codebook
    version: str = field(default_factory=installed_version)

    def printed(self) -> dict[str, Any]:
        """JSON form; `Score.parse` is its inverse."""
        return asdict(self)

    @classmethod
    def parse(cls, tree: dict[str, Any]) -> Score:
        """A score from its JSON form.   Raises UsageError on unknown or missing fields."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in tree.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError(f"not a score: {str(error).removeprefix('Score.__init__() ')}") from None


def comparable(a: Score, b: Score) -> list[str]:
    """Names of the protocol fields in which two scores differ; empty when they may be compared."""
    names = [entry.name for entry in fields(Score) if entry.name not in RESULT]
    return [name for name in names if getattr(a, name) != getattr(b, name)]


def bootstrap(
    values: Tensor, statistic: Callable[[Tensor], float] | None = None, *, rounds: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of a statistic of samples, by drawing them again with repetition.

    values: (N, ...), one row per sample.   statistic: of rows; the mean by default.
    Careful: only for means and the like. Scores of whole sets (Frechet distance, KID, recall ...) take repeated rows amiss:
    their intervals are `jackknife.interval`.
    Source: Efron & Tibshirani 1993, section 13.3.
    """
    if len(values) < 2:
        raise UsageError(f"an interval needs at least 2 samples, got {len(values)}")
    generator = torch.Generator().manual_seed(seed)
    draws = (values[torch.randint(len(values), (len(values),), generator=generator)] for _ in range(rounds))
    results = [float(rows.mean() if statistic is None else statistic(rows)) for rows in draws]
    low, high = (
        torch.tensor(results, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    )
    return low, high
