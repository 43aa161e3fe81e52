"""What vitrail made itself: folders of runs and sweeps, which are never data."""

from __future__ import annotations

import os
from pathlib import Path

from vitrail.data.source import digest

RUN = "recipe.json"
BESIDE_RUN = ("environment.json", "status.json", "checkpoints", "model")  # a recipe.json alone may be anybody's
SWEEP = "sweep.json"
BESIDE_SWEEP = ("cells", "table.md", ".lock")
# What runs and sweeps keep in their folders for themselves.
FOLDERS = ("model", "checkpoints", "samples", "latents", "averages", "tensorboard", "cells")
FILES = ("recipe.json", "environment.json", "metrics.jsonl", "status.json", "quarantine.json", "findings.jsonl")
OTHERS = ("copies.json", "report.html", "sweep.json", "table.md", ".lock")
PARTS = (*FOLDERS, *FILES, *OTHERS)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, finished or not."""
    return (folder / RUN).is_file() and any((folder / name).exists() for name in BESIDE_RUN)


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a sweep or of a sampling sweep."""
    return (folder / SWEEP).is_file() and any((folder / name).exists() for name in BESIDE_SWEEP)


def never_data(folder: Path) -> str | None:
    """What kind of folder of ours this is, for people; None for any other folder."""
    return "a run folder" if is_run(folder) else "the folder of a sweep" if is_sweep(folder) else None


def home(path: Path) -> Path | None:
    """The nearest folder above a path, links resolved, that is never data; None where there is none."""
    return next((folder for folder in Path(os.path.realpath(path)).parents if never_data(folder)), None)


def place(path: Path) -> str:
    """Stands for where something is, without telling it; one for all spellings of a path."""
    return digest(os.fsencode(os.path.realpath(path).casefold()))
