"""The pictures that a model is judged by: the held-out part of its own data, or another source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vitrail.cli import _run
from vitrail.cli._task import Request
from vitrail.data.dataset import Dataset, open_dataset
from vitrail.data.source import Progress
from vitrail.errors import DataError, UsageError

NOTHING = "nothing is held out (data.heldout=0), so there is nothing to judge by"

Part = Annotated[
    Literal["heldout", "train", "all"], typer.Option("--part", help="which part of the source to judge by")
]


def source(request: Request, run: Path | None) -> str:
    """What --data names, or the data that the run was trained on. Raises UsageError for a model without its run."""
    given = request.texts["source"]
    if given is not None:
        return given
    if run is None:
        raise UsageError(
            f"--data is missing: {request.run} is a model without its run folder, so its data is not known"
        )
    return str(_run.recipe_of(run)["data"]["source"])


def opened(text: str, request: Request, part: Literal["heldout", "train", "all"], tell: Progress) -> Dataset:
    """The pictures to judge by, in the model's shape. Raises DataError where there are none."""
    model = request.model
    channels, height, width = model.spec.shape
    data = open_dataset(text, model.recipe.data, part, shape=(channels, height, width), progress=tell)
    if not len(data):
        raise DataError(f"{text}: {NOTHING}; add --part train or --part all, or name other pictures with --data")
    return data
