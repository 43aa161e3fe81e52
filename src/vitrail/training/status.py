"""status.json: where a run is, written while it trains, and what has become of it, for whoever reads that later.

The file alone cannot tell: a process that was killed leaves "running" behind. So readers ask the lock of the folder as well.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vitrail import durable

FILE = "status.json"


def write(folder: Path, fields: Mapping[str, Any]) -> None:
    """Replace the file at once; adds this process's id. Raises OSError."""
    content = json.dumps(without_nan({**fields, "pid": os.getpid()}), indent=1)
    durable.write_file(folder / FILE, content.encode())


def now() -> str:
    """The time of day with its zone, for "started": when this process took up the stage."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def resume(folder: Path) -> None:
    """Say that a run which was broken off goes on in this process; nothing where none was. Raises Interrupted."""
    if told := _told(folder):
        with durable.storing(folder / FILE):
            write(folder, {**told, "state": "running", "started": now()})


def read(folder: Path) -> dict[str, Any]:
    """Where a run is. "state" says what is true now; all else is missing before the first step.

    state: "finished" where the model is there, "running" while a process is at work, "failed" where the last one ended in an
    error, "interrupted" after any other end.
    """
    told = _told(folder)
    return {**told, "state": _state(folder, told.get("state"))}


def _state(folder: Path, told: str | None) -> str:
    if (folder / "model" / "config.json").exists():
        return "finished"
    try:
        occupied = durable.occupied(folder)
    except OSError:  # a folder of somebody else's, whose lock may not be opened
        occupied = told == "running"
    ended = told in ("interrupted", "failed")  # "finished" is said of a stage, and another may follow
    if occupied:
        return str(told) if ended else "running"
    return "failed" if told == "failed" else "interrupted"


def _told(folder: Path) -> dict[str, Any]:
    """The file as it is; nothing where it is missing or was damaged by a loss of power."""
    with contextlib.suppress(OSError, ValueError):
        tree = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return tree if isinstance(tree, dict) else {}
    return {}


def without_nan(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null."""
    if isinstance(value, Mapping):
        return {key: without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
