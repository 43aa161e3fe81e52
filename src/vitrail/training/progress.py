"""Showing progress to a person: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from vitrail.training.journal import Moment, Show

EVERY = 5.0  # seconds between lines where there is no terminal


@contextlib.contextmanager
def displayed() -> Iterator[Show]:
    """A hook for `loop.run` that shows every moment on standard error, one bar or run of lines per stage."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[facts]}"))
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(moment: Moment) -> None:
            if moment.stage not in tasks:
                tasks[moment.stage] = bars.add_task(moment.stage, total=1.0, facts="")
            bars.update(tasks[moment.stage], completed=moment.progress, facts=facts(moment))

        yield show


def facts(moment: Moment) -> str:
    """What a line says besides the share done."""
    return (
        f"step {moment.step}  loss {moment.loss:.4g}  {moment.images_per_second:.0f} images/s  "
        f"{duration(moment.eta_seconds)} left"
    )


def duration(seconds: float) -> str:
    """42 s, 3 min 05 s or 2 h 07 min; a question mark where unknown."""
    if seconds != seconds:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def _lines() -> Show:
    said: dict[str, float] = {}

    def show(moment: Moment) -> None:
        now = time.monotonic()
        if now - said.get(moment.stage, -EVERY) >= EVERY or moment.progress == 1:
            said[moment.stage] = now
            sys.stderr.write(f"{moment.stage} {moment.progress:4.0%}  {facts(moment)}\n")
            sys.stderr.flush()

    return show
