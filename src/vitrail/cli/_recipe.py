"""The recipe of one command line: a name, a printed form, single settings; every mistake noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vitrail import catalog
from vitrail.cli._refusal import Mistakes
from vitrail.errors import UsageError
from vitrail.model.folder import recipe_of
from vitrail.model.recipe import Recipe, override, parse, read_settings, successor

LARGEST = 1 << 20  # bytes of a recipe's printed form
WHOLE = ("weights",)  # mappings whose keys are no fields: given, they replace


def chosen(
    name: str | None,
    config: Path | None,
    settings: Sequence[str],
    flags: Mapping[str, Any],
    mistakes: Mistakes,
    start: Path | None = None,
) -> Recipe | None:
    """The recipe called `name`, changed by the file `config`, then by settings "key=value", then by flags that are not None.

    Without a name the file must hold a whole recipe; without both it is that of the run or model at `start`.
    None where a mistake was noted.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        with mistakes.noted():
            changes |= read_settings([setting])
    changes |= {key: value for key, value in flags.items() if value is not None}
    found: list[Recipe] = []
    with mistakes.noted():
        if start is not None and name is None and config is None:
            found.append(successor(recipe_of(start), changes))
        else:
            found.append(override(_base(name, config), changes))
    return found[0] if found else None


def _base(name: str | None, config: Path | None) -> Recipe:
    tree = {} if config is None else _printed(config)
    if name is None:
        if config is None:
            raise UsageError(f"RECIPE is missing (there is: {', '.join(catalog.names('recipes'))})")
        return parse(tree)
    recipe: Recipe = catalog.find("recipes", name).recipe()
    if tree.get("name", name) != name:
        raise UsageError(f"--config {config} is of recipe '{tree['name']}', not '{name}'; leave one of them out")
    return override(recipe, dict(_flat(tree)))


def _printed(path: Path) -> dict[str, Any]:
    """YAML, of which JSON is a part; the recipe.json of a run holds the recipe beside its data."""
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"--config {path}: larger than {LARGEST >> 20} MiB, refused")
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise UsageError(f"--config {path}: {reason}") from None
    if not isinstance(tree, dict):
        raise UsageError(f"--config {path}: holds no settings; see `vitrail recipes show NAME --json` for the form")
    inner = tree.get("recipe")
    return inner if isinstance(inner, dict) else tree


def _flat(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Dotted paths; a part's name before its settings, since another name starts from that part's defaults."""
    found: list[tuple[str, Any]] = []
    for key, value in sorted(tree.items(), key=lambda item: item[0] != "name"):
        path = f"{above}{key}"
        found += _flat(value, f"{path}.") if isinstance(value, Mapping) and path not in WHOLE else [(path, value)]
    return found
