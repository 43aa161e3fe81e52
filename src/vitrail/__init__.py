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
    recipe: str | Recipe,
    *,
    data: str | Path,
    out: str | Path,
    budget: str | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    show: bool = True,
) -> Model:
    """Train a recipe, given by name or made in Python, and return the model; the same call again resumes.

    budget: '20000 steps', '10 epochs', '90s', '6min'. settings: {"bottleneck.size": 1024}, as `--set` takes them.
    show: a progress bar. Raises UsageError, DataError, ModelError, Interrupted.
    """
    from contextlib import nullcontext

    from vitrail.training.progress import displayed
    from vitrail.training.run import train as run

    flags = {"training.budget": budget, "training.seed": seed}
    chosen = _varied(recipe, {**(settings or {}), **{key: value for key, value in flags.items() if value is not None}})
    with displayed() if show else nullcontext() as progress:
        return run(chosen, str(data), Path(out), show=progress)


def load(path: str | Path) -> Model:
    """The model in a run folder or model folder. Raises ModelError on anything that is not right."""
    from vitrail.model.folder import load as read

    return read(Path(path))


def recipe(name: str) -> Recipe:
    """The recipe of a name, to look at or to `vary`."""
    from vitrail import catalog

    made: Recipe = catalog.find("recipes", name).recipe()
    return made


def _varied(base: str | Recipe, changes: Mapping[str, Any]) -> Recipe:
    from vitrail.model.recipe import override

    chosen = recipe(base) if isinstance(base, str) else base
    return override(chosen, changes)
