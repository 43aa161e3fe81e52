"""Runs side by side: their scores in one table, or a refusal where they were measured otherwise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from vitrail.errors import ModelError, UsageError
from vitrail.metrics.direction import better
from vitrail.metrics.protocol import Score, comparable
from vitrail.model import folder
from vitrail.studies import cost
from vitrail.training.report import facts

FILE = "evaluation.json"
ORIGIN = ("data", "part", "data_fingerprint")  # of what a run was judged by; data: the source as the user wrote it
# How a model comes by a likelihood: a bound is told as one, not refused.
WAYS = ("likelihood", "k", "dequantisation", "likelihood_steps", "likelihood_probes")
OF_PICTURES = ("n_real", "training")  # fields and settings that follow from which pictures there are
OF_COUNTS = ("subsets", "size")  # settings of KID that follow from how many pictures there are
ALIKE = "evaluate it again with the same settings, or leave out --group"
OWN = ("nats_of_codes", "bits_per_token_prior")  # of the codes that a codec of its own makes: described, never ranked


@dataclass(frozen=True)
class Judged:
    """A run with its evaluation."""

    name: str  # as the user wrote it
    recipe: str
    kind: str  # equal for runs of one recipe that differ by their seed only
    scores: Mapping[str, Score]  # by metric
    origin: Mapping[str, Any]
    weights: int  # numbers of codec and prior
    angles: int  # those of them that turn qubits
    operations: int | None  # multiplications of a sample's way through both; None where circuits run elsewhere
    seconds: float | None  # of training; None for a model without its run
    pictures: tuple[int, ...]  # seen in training, by stage
    seconds_per_sample: float | None

    @property
    def sampling(self) -> Mapping[str, Any]:
        """Settings that its samples were drawn with; empty where none were."""
        drawn = (score.model for score in self.scores.values() if score.n_fake is not None)
        return next((settings for settings in drawn if settings), {})


@dataclass(frozen=True)
class Column:
    """One run, or several of one recipe."""

    name: str
    runs: tuple[Judged, ...]


@dataclass(frozen=True)
class Cell:
    """A score of a column."""

    value: float  # mean over the runs
    interval: tuple[float, float] | None  # of a single run
    spread: float | None  # sample standard deviation over several runs
    bound: bool  # of a likelihood: what it is at most
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One metric; None where a column was not judged by it."""

    metric: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Comparison:
    """What may be compared."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def compare(paths: Sequence[Path], group: bool = False) -> Comparison:
    """The scores of runs that were measured alike; group: runs of one recipe form a column.

    Raises ModelError where there is no model, UsageError that lists every mistake: what is not evaluated, or not as the others.
    """
    runs = [_read(path) for path in dict.fromkeys(paths)]
    _refuse([run for run in runs if isinstance(run, str)])
    judged = [run for run in runs if isinstance(run, Judged)]
    if len(judged) < 2:
        raise UsageError(f"wants two runs or more, got {len(judged)}")
    _refuse(unlike(judged))
    columns = grouped(judged) if group else [Column(run.name, (run,)) for run in judged]
    _refuse([line for column in columns for line in otherwise_drawn(column)])
    metrics = dict.fromkeys(metric for run in judged for metric in run.scores)
    return Comparison(tuple(columns), tuple(_row(metric, columns) for metric in metrics))


def unlike(runs: Sequence[Judged]) -> list[str]:
    """One line for every way in which a run was measured otherwise than the first that has the same scores.

    What follows from a line is not told: other pictures are also other in number.
    """
    lines: dict[str, list[str]] = {
        f"{run.name}: judged by {_pictures(run, runs[0])} as {runs[0].name}": []
        for run in runs[1:]
        if _elsewhere(run, runs[0])
    }
    for metric in dict.fromkeys(metric for run in runs for metric in run.scores):
        first, *others = (run for run in runs if metric in run.scores)
        for run in others:
            for told in _differences(first.scores[metric], run.scores[metric], _elsewhere(run, first)):
                lines.setdefault(f"{run.name}: {told} as {first.name}", []).append(metric)
    return [line + (f" ({', '.join(metrics)})" if metrics else "") for line, metrics in lines.items()]


def _elsewhere(run: Judged, first: Judged) -> bool:
    """Whether a run was judged by other pictures."""
    return any(run.origin.get(name) != first.origin.get(name) for name in ("part", "data_fingerprint"))


def _pictures(run: Judged, first: Judged) -> str:
    """`train of digits, not heldout of digits`."""
    mine, its = (f"{each.origin.get('part')} of {each.origin.get('data')}" for each in (run, first))
    return f"{mine}, not {its}" if mine != its else f"{mine} with other contents, not the same"


def _differences(a: Score, b: Score, elsewhere: bool) -> list[str]:
    """`n_fake 2000, not 10000` for every field, and for every setting, that differs and does not follow from another."""
    a, b = _bare(a), _bare(b)
    names = comparable(a, b)
    follow = {"settings", *(OF_PICTURES if elsewhere else ()), *(("features_sha256",) if "features" in names else ())}
    told = [f"{name} {getattr(b, name)}, not {getattr(a, name)}" for name in names if name not in follow]
    follow |= set(OF_COUNTS if {"n_real", "n_fake"} & set(names) else ())
    keys = [key for key in {**a.settings, **b.settings} if a.settings.get(key) != b.settings.get(key)]
    return told + [f"{key} {b.settings.get(key)}, not {a.settings.get(key)}" for key in keys if key not in follow]


def otherwise_drawn(column: Column) -> list[str]:
    """One line for every run whose samples were drawn otherwise than the first's: their mean would be of nothing."""
    first, *others = [run for run in column.runs if run.sampling] or [column.runs[0]]
    lines = []
    for run in others:
        mine, its = run.sampling, first.sampling
        told = [
            f"{key} {mine.get(key)}, not {its.get(key)}" for key in {**its, **mine} if mine.get(key) != its.get(key)
        ]
        if told:
            lines.append(f"{run.name}: drawn with {', '.join(told)} as {first.name} of the same recipe; {ALIKE}")
    return lines


def grouped(runs: Sequence[Judged]) -> list[Column]:
    """Runs that differ by their seed only, together. Two recipes of one name are told apart by their first run."""
    kinds: dict[str, list[Judged]] = {}
    for run in runs:
        kinds.setdefault(run.kind, []).append(run)
    names = [members[0].recipe for members in kinds.values()]
    return [
        Column(name if names.count(name) == 1 else f"{name} ({members[0].name})", tuple(members))
        for name, members in zip(names, kinds.values(), strict=True)
    ]


def _read(path: Path) -> Judged | str:
    """A run; where its evaluation is missing or of another model, what to do about it."""
    model = folder.load(path)
    home = next((each for each in (path, path.absolute().parent) if (each / "recipe.json").is_file()), None)
    where = (home or path) / FILE
    if not where.is_file():
        return f"{path} is not evaluated yet: run `vitrail evaluate {path}`, with the same options as for the others"
    tree = _tree(where)
    if tree.get("fingerprint") != model.fingerprint:
        return f"{path} has changed since it was evaluated: run `vitrail evaluate {path}` again"
    run = facts.read(home) if home else None
    printed = model.recipe.printed()
    printed["training"] = {key: value for key, value in printed["training"].items() if key != "seed"}
    return Judged(
        name=str(path),
        recipe=model.recipe.name,
        kind=hashlib.sha256(json.dumps(printed, sort_keys=True).encode()).hexdigest(),
        scores={score.metric: score for score in map(Score.parse, tree["scores"]) if score.value is not None},
        origin={name: tree.get(name) for name in ORIGIN},
        weights=cost.weights(model),
        angles=cost.angles(model),
        operations=cost.operations(model),
        seconds=run.seconds if run else None,
        pictures=tuple(lines[-1]["images"] for lines in run.lines.values() if lines) if run else (),
        seconds_per_sample=tree.get("seconds_per_sample"),
    )


def _tree(path: Path) -> dict[str, Any]:
    """Raises ModelError where it is no evaluation."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(tree["scores"], list):
            raise TypeError("no list of scores")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: unreadable ({error}); evaluate again") from None
    return dict(tree)


def _bare(score: Score) -> Score:
    """The score without what may differ between models; another seed is another draw, which its interval is about."""
    settings = {} if score.metric in OWN else {key: each for key, each in score.settings.items() if key not in WAYS}
    return replace(score, settings=settings, seed=None)


def _row(metric: str, columns: Sequence[Column]) -> Row:
    cells = [_cell([run.scores[metric] for run in column.runs if metric in run.scores]) for column in columns]
    values = [cell.value for cell in cells if cell is not None]
    way = better(metric)
    if way is None or len(values) < 2:
        return Row(metric, tuple(cells))
    best = max(values) if way == "higher" else min(values)
    return Row(metric, tuple(cell and replace(cell, best=cell.value == best) for cell in cells))


def _cell(scores: Sequence[Score]) -> Cell | None:
    if not scores:
        return None
    values = [score.value for score in scores]
    return Cell(
        value=fmean(values),
        interval=scores[0].interval if len(scores) == 1 else None,
        spread=stdev(values) if len(values) > 1 else None,
        bound=any(score.settings.get("likelihood", "exact") != "exact" for score in scores),
    )


def _refuse(lines: Sequence[str]) -> None:
    if lines:
        raise UsageError("\n".join(lines))
