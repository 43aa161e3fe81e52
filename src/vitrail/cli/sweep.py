"""Train every combination of some settings and compare them.

How large a codebook, and which bottleneck? Each combination is trained on the same data in the same order, in a run
folder of its own under DIR/cells, then scored on the held-out pictures. DIR/table.md and DIR/rate-distortion.png grow
with every one. The same command again goes on where it was; more values or more seeds keep what is done.

    vitrail sweep vqvae --data photos/ --over bottleneck.size=128,512,2048 bottleneck=vq,fsq,lfq --budget 2min --out sweeps/photos

A value may be a list in brackets: --over bottleneck.levels=[8,5,5],[8,8,8]. A combination that fails is listed with its
reason and tried again by the same command; the others go on. Exit code 1 if any failed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vitrail.cli import _output, _recipe, _sources
from vitrail.cli._command import Answer, Table, single
from vitrail.cli._refusal import Mistakes
from vitrail.errors import UsageError
from vitrail.model.recipe import Recipe, read_settings
from vitrail.studies import grid
from vitrail.studies import sweep as study
from vitrail.studies.grid import Axis, Cell, Plan
from vitrail.studies.ledger import Sweep
from vitrail.studies.table import caption, table
from vitrail.training.progress import duration

Name = Annotated[str, typer.Argument(metavar="RECIPE", help="name of a recipe", show_default=False)]
Words = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUES]...", help="more of --over", show_default=False)
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="SOURCE", help="a folder of pictures, a file of arrays, or a named set", show_default=False
    ),
]
Over = Annotated[
    list[str] | None,
    typer.Option(
        "--over", metavar="KEY=VALUES", help="a field of the recipe and its values, with commas; may be repeated"
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="the sweep's folder", show_default=False),
    _output.PASSED_OVER,
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget", metavar="BUDGET", help="of each cell: '20000 steps', '10 epochs', 90s; default: the recipe's"
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="change a field of the recipe in every cell; may be repeated"),
]
Seeds = Annotated[int, typer.Option("--seeds", metavar="NUMBER", help="train every combination with so many seeds")]
Features = Annotated[
    Path | None,
    typer.Option("--features", metavar="FEATURES", help="feature net that judges reconstructions", show_default=False),
]
Prior = Annotated[bool, typer.Option("--prior", help="train the prior too, within the same budget")]


def sweep(
    recipe: Name,
    words: Words = None,
    data: Data = None,
    over: Over = None,
    out: Out = None,
    budget: Budget = None,
    set: Set = None,
    seeds: Seeds = 1,
    features: Features = None,
    prior: Prior = False,
) -> Answer:
    """Plan, train, and print the table."""
    with Mistakes() as mistakes:
        base = _recipe.chosen(recipe, None, [], {}, mistakes)
        settings = _settings(set or [], budget, mistakes)
        axes = _axes(over or [], words or [], mistakes)
        plan = _planned(base, axes, settings, seeds, prior, mistakes)
        _sources.check(data, mistakes)
        if out is None:
            mistakes.add("--out is missing; it names the sweep's folder, for example --out sweeps/first")
    assert plan is not None
    assert data is not None
    assert out is not None
    return _answer(study.sweep(plan, data, out, features=features, tell=_told), plan)


def _settings(words: list[str], budget: str | None, mistakes: Mistakes) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for word in words:
        with mistakes.noted():
            settings |= read_settings([word])
    return settings if budget is None else {**settings, "training.budget": budget}


def _axes(over: list[str], words: list[str], mistakes: Mistakes) -> list[Axis]:
    axes: list[Axis] = []
    for word in (*over, *words):
        with mistakes.noted():
            if word in words and "=" not in word:
                raise UsageError(f"'{word}' is neither an option nor KEY=VALUE,VALUE..., which --over takes")
            axes.append(grid.axis(word))
    return axes


def _planned(
    base: Recipe | None, axes: list[Axis], settings: dict[str, Any], seeds: int, prior: bool, mistakes: Mistakes
) -> Plan | None:
    """The plan; None where a mistake was noted. Without axes only because their words were wrong, that is told already."""
    found: list[Plan] = []
    if base is not None and (axes or not mistakes.found):
        with mistakes.noted():
            found.append(grid.planned(base, axes, settings, seeds=seeds, prior=prior))
    return found[0] if found else None


def _told(number: int, total: int, cell: Cell, left: float) -> None:
    about = f", about {duration(left)} left of the whole" if left == left else ""
    print(f"cell {number} of {total}: {cell.told}{about}", file=sys.stderr, flush=True)


def _answer(done: Sweep, plan: Plan) -> Answer:
    made, unfinished = table(done), done.unfinished
    names = {"table": "table.md", "picture": "rate-distortion.png", "sweep": "sweep.json"}
    there = {kind: done.out / name for kind, name in names.items() if (done.out / name).exists()}
    told: list[str | Table] = [Table(made.headings, made.rows), "", caption(done)]
    told += [f"{name:8} {path}" for name, path in there.items()]
    if unfinished:
        reason = f"{unfinished[0].told}: {unfinished[0].error}" + (", ..." if len(unfinished) > 1 else "")
        count = f"{len(unfinished)} of {len(plan.cells)} cells failed"
        told.append(f"{count} ({reason}); the same command tries them again")
    return Answer({**done.printed(), "out": done.out, **there, "failed": len(unfinished)}, told, int(bool(unfinished)))


app = single(sweep, __doc__)
