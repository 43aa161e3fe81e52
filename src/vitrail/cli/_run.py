"""What a run folder tells about its model: the data it was trained on, and how far training is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vitrail.errors import ModelError


def folder_of(path: Path) -> Path | None:
    """The run folder of a run or of its model folder; None for a model folder that stands alone."""
    return next((each for each in (path, path.absolute().parent) if (each / "recipe.json").is_file()), None)


def recipe_of(run: Path) -> dict[str, Any]:
    """recipe.json: the printed recipe, and the data's source, fingerprint and shape."""
    return _read(run / "recipe.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: unreadable: {error}") from None
    if not isinstance(tree, dict):
        raise ModelError(f"{path}: holds no settings")
    return tree
