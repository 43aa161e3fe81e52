"""What vitrail made itself: folders of runs and sweeps, which are never data."""

from __future__ import annotations

from pathlib import Path

RUN = "recipe.json"
BESIDE_RUN = ("environment.json", "status.json", "checkpoints", "model")  # a recipe.json alone may be anybody's
SWEEP = "sweep.json"
BESIDE_SWEEP = ("cells", "table.md", ".lock")


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, finished or not."""
    return (folder / RUN).is_file() and any((folder / name).exists() for name in BESIDE_RUN)


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a sweep or of a sampling sweep."""
    return (folder / SWEEP).is_file() and any((folder / name).exists() for name in BESIDE_SWEEP)


def never_data(folder: Path) -> str | None:
    """What kind of folder of ours this is, for people; None for any other folder."""
    return "a run folder" if is_run(folder) else "the folder of a sweep" if is_sweep(folder) else None
