"""sweep.json: what a sweep has in common, and what became of each of its cells; rewritten after every change."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from vitrail import durable
from vitrail.errors import Interrupted, ModelError, UsageError
from vitrail.studies.grid import Cell, Plan, shown

FORMAT = 1
FILE = "sweep.json"
MISSING = "unset"
WEIGHTS = "weights"  # by which a study of a trained model knows it

logger = logging.getLogger(__name__)

State = Literal["waiting", "running", "finished", "failed", "interrupted"]


@dataclass(frozen=True)
class Result:
    """What became of one cell."""

    digest: str  # of its recipe
    folder: str  # its run, relative to the sweep's folder
    settings: Mapping[str, Any]  # by swept key
    seed: int
    state: State = "waiting"
    error: str = ""
    seconds: float = 0.0  # spent on it in all, evaluation included
    steps: int = 0  # of its codec
    trained_seconds: float = 0.0  # of its codec
    scores: tuple[Mapping[str, Any], ...] = ()  # printed, with their protocols
    cost: Mapping[str, float] = field(default_factory=dict)  # of a sample, where sampling is what is studied

    @property
    def told(self) -> str:
        """For people."""
        return " ".join([*(f"{key}={shown(value)}" for key, value in self.settings.items()), f"seed={self.seed}"])

    def score(self, metric: str) -> float | None:
        """The value of a metric, where it was measured."""
        return next((each["value"] for each in self.scores if each["metric"] == metric), None)

    def judged_by(self, features: str | None) -> bool:
        """Whether it is finished, and scored through the feature net of this sha256 if one is asked for."""
        through = {each["features_sha256"] for each in self.scores}
        return self.state == "finished" and (features is None or features in through)


@dataclass(frozen=True)
class Origin:
    """The data of a sweep."""

    source: str  # as the user wrote it
    stamp: str  # changes with its contents


@dataclass(frozen=True)
class Sweep:
    """A sweep as far as it is."""

    out: Path
    origin: Origin
    base: Mapping[str, Any]  # what all cells have in common, by dotted path
    results: Mapping[str, Result]  # by digest: the plan's in its order, then finished ones of earlier plans

    @property
    def unfinished(self) -> tuple[Result, ...]:
        """What is left to do."""
        return tuple(each for each in self.results.values() if each.state != "finished")

    def printed(self) -> dict[str, Any]:
        """JSON form."""
        cells = [asdict(each) for each in self.results.values()]
        return {"format": FORMAT, "data": asdict(self.origin), "base": dict(self.base), "cells": cells}

    def noted(self, result: Result) -> Sweep:
        """The same with another result for its cell."""
        return replace(self, results={**self.results, result.digest: result})


@contextlib.contextmanager
def claimed(out: Path, plan: Plan, origin: Origin) -> Iterator[Sweep]:
    """Make the folder this sweep's own, or find what it already holds of it, and keep other processes out meanwhile.

    Raises UsageError where it holds a sweep that has something else in common, naming what differs, or something else.
    """
    if out.exists() and not (out / FILE).exists() and any(_foreign(path) for path in out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no sweep; choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out} cannot be made: {error.strerror}; choose another --out") from None
    with durable.alone(out):
        earlier = _read(out)
        if earlier is not None:
            _compare(earlier, plan, origin)
        yield _joined(out, plan, origin, earlier)


@contextlib.contextmanager
def telling(results: Iterable[Result]) -> Iterator[None]:
    """Tell the scores of these cells where they cannot be stored inside the block: they took long to measure."""
    try:
        yield
    except Interrupted:
        for each in results:
            scores = ", ".join(f"{score['metric']} {score['value']}" for score in each.scores)
            logger.warning("measured, but not stored: %s: %s", each.told, scores or each.error or each.state)
        raise


def write(sweep: Sweep) -> None:
    """Replace sweep.json. Raises Interrupted on a full disk."""
    with durable.storing(sweep.out / FILE):
        durable.write_file(sweep.out / FILE, json.dumps(sweep.printed(), indent=1, default=str).encode(), through=True)


def _joined(out: Path, plan: Plan, origin: Origin, earlier: Sweep | None) -> Sweep:
    """The plan's cells with what is known of them, and finished cells that the plan does not name."""
    held = earlier.results if earlier else {}
    planned = {cell.digest: _known(cell, held.get(cell.digest)) for cell in plan.cells}
    others = {key: each for key, each in held.items() if key not in planned and each.state == "finished"}
    return Sweep(out, earlier.origin if earlier else origin, plan.base, {**planned, **others})


def _known(cell: Cell, held: Result | None) -> Result:
    if cell.recipe is None:
        return Result(cell.digest, "", dict(cell.settings), cell.seed, "failed", "; ".join(cell.mistakes))
    fresh = Result(cell.digest, f"cells/{cell.name}", dict(cell.settings), cell.seed)
    return replace(held, settings=fresh.settings) if held else fresh


def _read(out: Path) -> Sweep | None:
    """What the folder holds. Raises ModelError where sweep.json is damaged or of another format."""
    if not (out / FILE).exists():
        return None
    try:
        tree = json.loads((out / FILE).read_text(encoding="utf-8"))
        if tree["format"] != FORMAT:
            raise ModelError(f"{out / FILE} has format {tree['format']}, wants {FORMAT}; choose another --out")
        results = [Result(**{**cell, "scores": tuple(cell["scores"])}) for cell in tree["cells"]]
        return Sweep(out, Origin(**tree["data"]), tree["base"], {each.digest: each for each in results})
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{out / FILE} is damaged ({type(error).__name__}); choose another --out") from None


def _compare(earlier: Sweep, plan: Plan, origin: Origin) -> None:
    before, now = earlier.base, json.loads(json.dumps(plan.base, default=str))
    pairs = {key: (before.get(key, MISSING), now.get(key, MISSING)) for key in sorted(before.keys() | now.keys())}
    changed = [f"{key} {shown(was)}, now {shown(to)}" for key, (was, to) in pairs.items() if was != to]
    if before.keys() & now.keys() >= {WEIGHTS} and before[WEIGHTS] != now[WEIGHTS]:
        raise UsageError(
            f"the model's weights have changed since this study; remove {earlier.out} or give another --out"
        )
    if changed:
        told = "; ".join(changed[:3])
        raise UsageError(f"{earlier.out} holds another sweep ({told}); choose another --out, or the same settings")
    if earlier.origin.stamp != origin.stamp:
        source = earlier.origin.source
        raise UsageError(
            f"{earlier.out} holds a sweep on other data ({source}, or its files changed); choose another --out"
        )


def _foreign(path: Path) -> bool:
    """Whether it is none of what a sweep that died at its very start may leave."""
    return path.name != ".lock" and not path.name.endswith(durable.BESIDE)
