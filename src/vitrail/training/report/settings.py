"""The recipe as people read it: every setting with its meaning, what was changed, and the command that repeats it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vitrail import catalog
from vitrail.model.recipe import SLOTS, Recipe, override
from vitrail.types import Config


@dataclass(frozen=True)
class Setting:
    """One setting of a recipe under its dotted name."""

    path: str
    value: Any
    default: Any  # of the named recipe
    meaning: str

    @property
    def changed(self) -> bool:
        return bool(self.value != self.default)


def named_recipe(recipe: Recipe) -> Recipe | None:
    """The recipe of the same name as it comes; None where a user made his own."""
    if recipe.name not in catalog.names("recipes"):
        return None
    made: Recipe = catalog.find("recipes", recipe.name).recipe()
    return made


def settings(recipe: Recipe) -> list[Setting]:
    """Every setting in order, compared with the named recipe; with itself where there is none."""
    usual = named_recipe(recipe) or recipe
    changed = [slot for slot in SLOTS if _part_name(recipe, slot) != _part_name(usual, slot)]
    exchanged = {slot: _barely(getattr(recipe, slot)) for slot in changed}
    return list(_settings(recipe, override(usual, exchanged), usual, ""))


def _barely(part: Config | None) -> dict[str, Any] | None:
    """A part's printed form with those settings only that have no default."""
    if part is None:
        return None
    needed = {name for name, field in type(part).model_fields.items() if field.is_required()}
    return {key: value for key, value in part.printed().items() if key == "name" or key in needed}


def command(recipe: Recipe, source: str, out: str, start: str | None = None) -> str | None:
    """The shell command that trains the same again; None for a recipe that the command line does not know.

    start: the model whose weights it begins with.
    """
    if named_recipe(recipe) is None:
        return None
    flags = {"training.budget": "--budget", "training.seed": "--seed"}
    told = {"--data": source, "--out": out, "--seed": str(recipe.training.seed)}
    if start is not None:
        told["--from"] = start
    changes = []
    for setting in settings(recipe):
        if setting.path in flags:
            told[flags[setting.path]] = str(setting.value)
        elif setting.changed:
            changes.append(f"--set {shlex.quote(_assignment(setting))}")
    words = [f"{flag} {shlex.quote(value)}" for flag, value in told.items()]
    first = f"vitrail train {shlex.quote(recipe.name)} {words[0]} {words[1]}"
    return " \\\n    ".join([first, " ".join(words[2:]), *changes])


def _assignment(setting: Setting) -> str:
    """`key=value`; a part is changed through its name, so that its own settings may follow."""
    key = f"{setting.path}.name" if setting.path in SLOTS and setting.value else setting.path
    return f"{key}={printed(setting.value)}"


def printed(value: Any) -> str:
    """A value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value, default=lambda inner: inner.model_dump(mode="json"))


def _settings(now: Config, default: Config, usual: Config, path: str) -> Iterator[Setting]:
    for name, field in type(now).model_fields.items():
        value, before, where = getattr(now, name), getattr(default, name), f"{path}{name}"
        if not path and name == "name":
            continue
        if not path and name in SLOTS:
            yield _choice(now, usual, name)
        if isinstance(value, Config):
            yield from _settings(value, before, before, f"{where}.")
        elif path or name not in SLOTS:
            told = None if path and field.is_required() else before  # what has no default is always told
            yield Setting(where, value, told, field.description or "")


def _choice(now: Config, usual: Config, slot: str) -> Setting:
    """Which part fills a slot."""
    name = _part_name(now, slot)
    meaning = catalog.summary(SLOTS[slot], name) if name else type(now).model_fields[slot].description or ""
    return Setting(slot, name, _part_name(usual, slot), meaning)


def _part_name(recipe: Config, slot: str) -> str | None:
    part = getattr(recipe, slot)
    return part.part() if part else None
