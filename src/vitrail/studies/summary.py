"""A sweep in rows: what was measured of each combination, over its seeds, and which combinations are worth their bits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from vitrail.studies.ledger import Result, Sweep

RATE = "bits_per_pixel"


@dataclass(frozen=True)
class Row:
    """One combination: its results, one a seed."""

    settings: Mapping[str, Any]
    results: tuple[Result, ...]

    @property
    def finished(self) -> tuple[Result, ...]:
        """Those that can be looked at."""
        return tuple(each for each in self.results if each.state == "finished")

    def values(self, metric: str) -> list[float]:
        """One for every seed that has it."""
        found = [each.score(metric) for each in self.finished]
        return [value for value in found if value is not None]

    def mean(self, metric: str) -> float | None:
        """Over the seeds; None where it was not measured."""
        values = self.values(metric)
        return fmean(values) if values else None

    def spread(self, metric: str) -> float | None:
        """Sample standard deviation over the seeds; None of fewer than two."""
        values = self.values(metric)
        return stdev(values) if len(values) > 1 else None


def rows(sweep: Sweep) -> list[Row]:
    """One row a combination: by rate, the best of a rate first; what has no scores last."""
    grouped: dict[str, list[Result]] = {}
    for each in sweep.results.values():
        grouped.setdefault(json.dumps(each.settings, sort_keys=True, default=str), []).append(each)
    return sorted((Row(group[0].settings, tuple(group)) for group in grouped.values()), key=_place)


def keys(found: list[Row]) -> list[str]:
    """The swept keys of all rows."""
    return list(dict.fromkeys(key for row in found for key in row.settings))


def best(found: list[Row]) -> list[bool]:
    """Whether a row is on the front: no other one has as good a PSNR for fewer bits, or a better one for as few."""
    points = [(_rate(row), row.mean("psnr")) for row in found]
    return [psnr is not None and not any(_beats(other, (rate, psnr)) for other in points) for rate, psnr in points]


def _beats(a: tuple[float, float | None], b: tuple[float, float]) -> bool:
    return a[1] is not None and a[0] <= b[0] and a[1] >= b[1] and (a[0], a[1]) != b


def _rate(row: Row) -> float:
    """Bits per pixel; without codes all are alike."""
    rate = row.mean(RATE)
    return math.inf if rate is None else rate


def _place(row: Row) -> tuple[bool, float, float]:
    psnr = row.mean("psnr")
    return psnr is None, round(_rate(row), 6), -(psnr or 0.0)
