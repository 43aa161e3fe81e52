"""vitrail: train learned codecs and the priors in their latent space, and use them.

    model = vitrail.train("vqvae", data="photos/", out="runs/photos", budget="6min")
    model = vitrail.load("runs/photos")
    pictures = model.sample(16, seed=0)

Importing this package loads nothing heavy: torch comes with the first call.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrail.model.model import Model
    from vitrail.model.recipe import Recipe

__version__ = "0.1.0"
__all__ = ["load", "recipe", "train"]


def train(
    recipe: str | Recipe | None = None,
    *,
    data: str | Path,
    out: str | Path,
    budget: str | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    start: str | Path | None = None,
    show: bool = True,
) -> Model:
    """Train a recipe, given by name or made in Python, and return the model; the same call again resumes.

    budget: '20000 steps', '10 epochs', '90s', '6min'. settings: {"bottleneck.size": 1024}, as `--set` takes them.
    start: a run or model whose weights it begins with, as far as they fit; without a recipe also with its recipe.
    show: a progress bar. Raises UsageError, DataError, ModelError, Interrupted.
    """
    from contextlib import nullcontext

    from vitrail import processes
    from vitrail.training.progress import displayed
    from vitrail.training.run import train as run

    processes.end_if_reimported()
    flags = {"training.budget": budget, "training.seed": seed}
    start = None if start is None else Path(start)
    changes = {**(settings or {}), **{key: value for key, value in flags.items() if value is not None}}
    chosen = _varied(recipe, start, changes)
    with displayed() if show else nullcontext() as progress:
        return run(chosen, str(data), Path(out), start=start, show=progress)


def load(path: str | Path) -> Model:
    """The model in a run folder or model folder. Raises ModelError on anything that is not right."""
    from vitrail.model.folder import load as read

    return read(Path(path))


def recipe(name: str) -> Recipe:
    """The recipe of a name, to look at or to `vary`."""
    from vitrail import catalog

    made: Recipe = catalog.find("recipes", name).recipe()
    return made


def _varied(base: str | Recipe | None, start: Path | None, changes: Mapping[str, Any]) -> Recipe:
    from vitrail.errors import UsageError
    from vitrail.model.folder import recipe_of
    from vitrail.model.recipe import override, successor

    if base is None:
        if start is None:
            raise UsageError("give a recipe, or a model to start from")
        return successor(recipe_of(start), changes)
    chosen = recipe(base) if isinstance(base, str) else base
    return override(chosen, changes)
