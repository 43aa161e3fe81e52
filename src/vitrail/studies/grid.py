"""The grid of a sweep: swept keys with their values, and every combination as a recipe or the reason why it is none."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from vitrail.errors import UsageError
from vitrail.model.recipe import SLOTS, Recipe, override, read_settings

LONGEST = 120  # letters of a cell's name, which is a folder's
SEED = "training.seed"
SHORT = {"training.steps": "training.budget"}  # two ways to say one thing


@dataclass(frozen=True)
class Axis:
    """One swept key."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Cell:
    """One combination with one seed."""

    settings: Mapping[str, Any]  # by swept key
    seed: int
    recipe: Recipe | None  # None where the combination is none
    mistakes: tuple[str, ...] = ()  # why it is none, one line each

    @property
    def told(self) -> str:
        """For people: `bottleneck.size=512 bottleneck=fsq seed=0`."""
        return " ".join([*(f"{key}={shown(value)}" for key, value in self.settings.items()), f"seed={self.seed}"])

    @property
    def name(self) -> str:
        """The same as the name of a folder."""
        plain = re.sub(r"[^\w.=+-]", "_", self.told)[:LONGEST]
        return plain if plain == self.told.replace(" ", "_") else f"{plain}-{digest(self.told)[:8]}"

    @property
    def digest(self) -> str:
        """What a cell is known by: changes with any field of its recipe."""
        return digest(self.recipe.printed() if self.recipe else [dict(self.settings), self.seed, self.mistakes])


@dataclass(frozen=True)
class Plan:
    """What a sweep is to train, in order: all combinations with the first seed, then all with the next."""

    recipe: Recipe
    settings: Mapping[str, Any]  # that all cells share
    prior: bool  # whether it is trained too
    axes: tuple[Axis, ...]
    cells: tuple[Cell, ...]

    @property
    def base(self) -> dict[str, Any]:
        """All that cells have in common, by dotted path: only what shares it may stand in one table."""
        return {**flat(self.recipe.printed()), **flat(self.settings), "--prior": self.prior}


def axis(text: str) -> Axis:
    """`bottleneck.size=128,512` or `bottleneck.levels=[8,5,5],[8,8,8]`; values are read as YAML. Raises UsageError."""
    key, equals, values = (part.strip() for part in text.partition("="))
    pieces = _pieces(values)
    if not (key and equals) or "" in pieces:
        raise UsageError(f"--over wants KEY=VALUE,VALUE..., got '{text}'")
    try:
        read = [read_settings([f"{key}={piece}"])[key] for piece in pieces]
    except UsageError:
        raise UsageError(f"--over {key}: cannot read the values '{values}'") from None
    return Axis(key, tuple({shown(value): value for value in read}.values()))


def planned(
    recipe: Recipe,
    axes: Sequence[Axis],
    settings: Mapping[str, Any] | None = None,
    *,
    seeds: int = 1,
    prior: bool = False,
) -> Plan:
    """Every combination of the axes' values, for so many seeds. A cell is what `train --set` makes of the same settings.

    Raises UsageError that lists every mistake: keys given twice, and each value that no combination makes valid.
    """
    settings = _told_as_budget(settings or {})
    _check(axes, settings, seeds, prior)
    first = settings.get(SEED, recipe.training.seed)
    common = settings if prior else {**settings, "prior": None}
    cells = [
        _cell(recipe, common, {each.key: value for each, value in zip(axes, values, strict=True)}, seed)
        for seed in range(first, first + seeds)
        for values in product(*(each.values for each in axes))
    ]
    unlike = {cell.digest: cell for cell in reversed(cells)}  # of equal ones the first
    plan = Plan(recipe, settings, prior, tuple(axes), tuple(reversed(unlike.values())))
    refuse_hopeless(plan)
    return plan


def examined(plan: Plan, problem: Callable[[Cell], UsageError | None]) -> Plan:
    """The plan with those valid cells marked that have a problem even so. Raises UsageError as `planned` does."""
    cells = [cell if cell.recipe is None else _marked(cell, problem(cell)) for cell in plan.cells]
    plan = replace(plan, cells=tuple(cells))
    refuse_hopeless(plan)
    return plan


def refuse_hopeless(plan: Plan) -> None:
    """Raise UsageError for values that are valid in no cell: these are mistakes of the command, not of a combination."""
    lines: dict[str, None] = {}
    for each in plan.axes:
        for value in each.values:
            cells = [cell for cell in plan.cells if shown(cell.settings[each.key]) == shown(value)]
            if all(cell.mistakes for cell in cells):
                lines |= dict.fromkeys(line for cell in cells for line in cell.mistakes)
    if lines:
        raise UsageError("\n".join(lines))


def shown(value: Any) -> str:
    """A value as it is typed."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted path."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return found


def _cell(recipe: Recipe, common: Mapping[str, Any], chosen: Mapping[str, Any], seed: int) -> Cell:
    varied = {_path(key, value): value for key, value in chosen.items()}
    try:
        return Cell(chosen, seed, override(recipe, {**common, **varied, SEED: seed}))
    except UsageError as error:
        return _marked(Cell(chosen, seed, None), error)


def _marked(cell: Cell, error: UsageError | None) -> Cell:
    return cell if error is None else replace(cell, recipe=None, mistakes=tuple(str(error).splitlines()))


def _path(key: str, value: Any) -> str:
    """A part by its name: one that is the recipe's own keeps the recipe's settings."""
    return f"{key}.name" if key in SLOTS and isinstance(value, str) else key


def _told_as_budget(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`training.steps` is short for a budget; so that two ways to say the same are the same."""
    steps = {"training.budget": f"{settings['training.steps']} steps"} if "training.steps" in settings else {}
    return {**{key: value for key, value in settings.items() if key != "training.steps"}, **steps}


def _check(axes: Sequence[Axis], settings: Mapping[str, Any], seeds: int, prior: bool) -> None:
    problems = []
    keys = [SHORT.get(each.key, each.key).removesuffix(".name") for each in axes]
    if not axes:
        problems.append("--over is missing; give what to vary, for example --over bottleneck.size=128,512,2048")
    problems += [f"--over {key}: given twice" for key in dict.fromkeys(keys) if keys.count(key) > 1]
    problems += [f"{key} is varied, so it cannot be set as well" for key in dict.fromkeys(keys) if key in settings]
    if SEED in keys:
        problems.append(f"{SEED} cannot be varied by --over; use --seeds")
    if seeds < 1:
        problems.append(f"--seeds wants 1 or more, got {seeds}")
    if not isinstance(settings.get(SEED, 0), int):
        problems.append(f"{SEED}: wants a whole number, got {settings[SEED]!r}")
    mine = [key for key in (*settings, *keys) if _of_prior(key)]
    if mine and not prior:
        problems.append(f"{mine[0]} concerns the prior, which a sweep leaves out; add --prior to train it too")
    if problems:
        raise UsageError("\n".join(problems))


def _of_prior(key: str) -> bool:
    return key == "training.share" or key.split(".")[0] == "prior" or key.startswith("training.prior")


def _pieces(text: str) -> list[str]:
    """Cut at commas outside brackets."""
    depth, pieces = 0, [""]
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth:
            pieces.append("")
        else:
            pieces[-1] += letter
    return [piece.strip() for piece in pieces]


def digest(value: Any) -> str:
    """Short name of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
