"""Compare runs in one table, if they were measured alike.

Reads the evaluation.json that `vitrail evaluate` wrote into each run. What must agree is the data, the part of it, how many
pictures and samples, the feature net and the version; how a model draws is its own affair, and is shown. The best of a row
is marked *; a likelihood of which a bound is known is told as at most that. Below stands what the models cost: weights, the
share of them in quantum circuits, multiplications of one sample's way through codec and prior, pictures seen and time.

    vitrail compare runs/a runs/b runs/c
    vitrail compare runs/flow-0 runs/flow-1 runs/vae-0 runs/vae-1 --group recipe
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

import typer

from vitrail.cli import _scores
from vitrail.cli._command import Answer, Table, single
from vitrail.studies import comparison
from vitrail.studies.comparison import Cell, Column, Comparison, Judged
from vitrail.training.progress import duration

BEST = "*"

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="run folders or model folders", show_default=False)]
Group = Annotated[
    Literal["none", "recipe"],
    typer.Option("--group", help="recipe: runs that differ by their seed only share a column, mean ± spread"),
]


def compare(runs: Runs, group: Group = "none") -> Answer:
    """Compare and print."""
    found = comparison.compare(runs, group=group == "recipe")
    told: list[str | Table] = [table(found), f"\n{BEST}: the best of its row"]
    if group == "recipe":
        told.append("mean ± standard deviation over runs of one recipe")
    return Answer(printed(found), told)


def table(found: Comparison) -> Table:
    """Scores above, what the models cost below."""
    rows = [(row.metric, *(_shown(row.metric, cell) for cell in row.cells)) for row in found.rows]
    about = [(name, *(tell(column) for column in found.columns)) for name, tell in ABOUT.items()]
    settings = dict.fromkeys(key for column in found.columns for key in _sampling(column))
    drawn = [(key, *(_sampling(column).get(key, "") for column in found.columns)) for key in settings]
    return Table(
        ("score", *(column.name for column in found.columns)), [*rows, *(row for row in about + drawn if any(row[1:]))]
    )


def printed(found: Comparison) -> dict[str, Any]:
    """JSON form."""
    columns = [
        {
            "name": column.name,
            "runs": [run.name for run in column.runs],
            "recipe": column.runs[0].recipe,
            "weights": column.runs[0].weights,
            "weights_in_circuits": column.runs[0].angles,
            "operations": column.runs[0].operations,
            "training_seconds": [run.seconds for run in column.runs],
            "training_pictures": [run.pictures for run in column.runs],
            "seconds_per_sample": [run.seconds_per_sample for run in column.runs],
            "sampling": dict(column.runs[0].sampling),
        }
        for column in found.columns
    ]
    scores = [
        {"metric": row.metric, "cells": [asdict(cell) if cell else None for cell in row.cells]} for row in found.rows
    ]
    return {"columns": columns, "scores": scores}


def _shown(metric: str, cell: Cell | None) -> str:
    if cell is None:
        return ""
    text = f"{'<= ' if cell.bound else ''}{_scores.figure(metric, cell.value)}"
    if cell.spread is not None:
        text += f" ± {_scores.figure(metric, cell.spread)}"
    elif cell.interval is not None:
        text += f" ({' to '.join(_scores.figure(metric, end) for end in cell.interval)})"
    return f"{text} {BEST}" if cell.best else text


def _mean(value: Callable[[Judged], float | None], shown: Callable[[float], str]) -> Callable[[Column], str]:
    """Over the runs of a column that know it."""

    def told(column: Column) -> str:
        known: Sequence[float] = [each for run in column.runs if (each := value(run)) is not None]
        return shown(fmean(known)) if known else ""

    return told


def _in_circuits(column: Column) -> str:
    run = column.runs[0]
    return f"{run.angles:,} ({run.angles / run.weights:.1%})" if run.angles else ""


def _sampling(column: Column) -> dict[str, str]:
    settings = column.runs[0].sampling
    return {f"drawn with {key}": str(value) for key, value in settings.items() if value is not None}


ABOUT: dict[str, Callable[[Column], str]] = {
    "runs": lambda column: str(len(column.runs)) if len(column.runs) > 1 else "",
    "weights": lambda column: f"{column.runs[0].weights:,}",
    "of them in circuits": _in_circuits,
    "operations": lambda column: "" if column.runs[0].operations is None else f"{column.runs[0].operations:,}",
    "training": _mean(lambda run: run.seconds, duration),
    "pictures seen": _mean(lambda run: sum(run.pictures) or None, "{:,.0f}".format),
    "seconds per sample": _mean(lambda run: run.seconds_per_sample, "{:.4f}".format),
}

app = single(compare, __doc__)
