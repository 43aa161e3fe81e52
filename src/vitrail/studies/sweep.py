"""Train and score every cell of a plan, one after another, each in a run folder and a process of its own.

After every cell sweep.json, table.md and rate-distortion.png are written anew. Called again it resumes.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import fmean

from vitrail import durable
from vitrail.data.config import DataConfig
from vitrail.data.dataset import chosen_shape, open_source
from vitrail.data.source import digest
from vitrail.errors import Interrupted, UsageError
from vitrail.model.build import check, fitted
from vitrail.networks.features import load_features
from vitrail.studies import child, ledger
from vitrail.studies.child import Job, Outcome
from vitrail.studies.grid import Cell, Plan, examined
from vitrail.studies.ledger import Origin, Result, Sweep
from vitrail.studies.picture import picture
from vitrail.studies.table import markdown
from vitrail.training import budget, distributed, stopping
from vitrail.training.stopping import Stop
from vitrail.types import DataSpec

Tell = Callable[[int, int, Cell, float], None]  # number from 1, of how many, which, seconds left of the whole
Work = Callable[[Job, Stop], Outcome]


def sweep(
    plan: Plan,
    source: str,
    out: Path,
    *,
    features: Path | None = None,
    tell: Tell | None = None,
    work: Work = child.run,
) -> Sweep:
    """Train and score what the folder does not hold yet of a plan: new cells, failed ones, an interrupted one.

    A cell that fails leaves the others alone. tell: called before each cell. work: what does a cell.
    Raises DataError, UsageError (values that fit no cell, a folder of another sweep) and Interrupted (resumable).
    """
    if os.environ.keys() >= distributed.LAUNCHED:
        raise UsageError("a sweep trains its cells one after another: start it without torchrun")
    plan, origin = _fitting(plan, source)
    judge = None if features is None else load_features(features).sha256
    with ledger.claimed(out, plan, origin) as found, stopping.watched() as stop:
        _write(found)
        for i, cell in enumerate(plan.cells):
            held = found.results[cell.digest]
            if cell.recipe is None or held.judged_by(judge):
                continue
            _listen(stop, i, plan)
            if tell:
                tell(i + 1, len(plan.cells), cell, _left(plan, found, judge))
            found = found.noted(replace(held, state="running", error=""))
            ledger.write(found)
            job = Job(cell.recipe.printed(), source, str(out / held.folder), str(features) if features else None)
            started = time.perf_counter()
            outcome = work(job, stop)
            result = _after(held, outcome, time.perf_counter() - started)
            found = found.noted(result)
            with ledger.telling([result]):
                _write(found)
            if outcome.state == "interrupted":
                raise Interrupted(f"cell {i + 1} of {len(plan.cells)} ({cell.told}): {outcome.error}")
        return found


def _fitting(plan: Plan, source: str) -> tuple[Plan, Origin]:
    """The plan with those cells marked that do not fit the data, and what the data is; only its headers are read."""
    stamps = set()

    @cache
    def spec(config: DataConfig) -> DataSpec:
        opened = open_source(source, config)
        if opened.test is None and not config.heldout:
            raise UsageError(f"data.heldout=0 leaves nothing of {source} to score a cell by; hold some out")
        stamps.add(digest(*(part.stamp for part in (opened.train, opened.test) if part is not None)))
        return DataSpec(shape=chosen_shape(opened.train.shapes, config), classes=opened.classes)

    def problem(cell: Cell) -> UsageError | None:
        recipe = cell.recipe
        assert recipe is not None
        try:
            own = spec(recipe.data)
            budget.read(recipe.training.budget)
            check(fitted(recipe, own), own)
        except UsageError as error:
            return error
        return None

    plan = examined(plan, problem)
    return plan, Origin(source, min(stamps))


def _listen(stop: Stop, i: int, plan: Plan) -> None:
    if stop.requested:
        raise Interrupted(f"stopped before cell {i + 1} of {len(plan.cells)}; the same command goes on from there")


def _after(held: Result, outcome: Outcome, seconds: float) -> Result:
    """What is now known of a cell. Scores of one that failed or stopped on the way to better ones are kept."""
    result = replace(held, state=outcome.state, error=outcome.error, seconds=held.seconds + seconds)
    if outcome.state != "finished":
        return result
    return replace(result, steps=outcome.steps, trained_seconds=outcome.trained_seconds, scores=outcome.scores)


def _left(plan: Plan, found: Sweep, judge: str | None) -> float:
    """Seconds until the end, judged by the cells so far, or by the budget; NaN where neither tells."""
    results = [found.results[cell.digest] for cell in plan.cells if cell.recipe is not None]
    spent = [each.seconds for each in results if each.state == "finished"]
    waiting = sum(not each.judged_by(judge) for each in results)
    if spent:
        return waiting * fmean(spent)
    recipe = next(cell.recipe for cell in plan.cells if cell.recipe is not None)
    whole = budget.read(recipe.training.budget)
    return waiting * whole.amount if whole.unit == "seconds" else math.nan


def _write(sweep: Sweep) -> None:
    """All three files. Raises Interrupted on a full disk."""
    ledger.write(sweep)
    drawn = picture(sweep)
    with durable.storing(sweep.out):
        durable.write_file(sweep.out / "table.md", markdown(sweep).encode())
        if drawn is not None:
            durable.write_file(sweep.out / "rate-distortion.png", drawn)
