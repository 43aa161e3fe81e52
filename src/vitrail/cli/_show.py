"""Progress of anything over two seconds: a bar on a terminal, else a line every few seconds, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vitrail.cli._refusal import first_process
from vitrail.data.source import Progress, silent
from vitrail.training.progress import EVERY, duration

PATIENCE = 2.0  # seconds before anything is shown


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A hook to call with (done, total)."""
    if not first_process():
        yield silent
        return
    shown = _Bar(what) if sys.stderr.isatty() else _Lines(what)
    try:
        yield shown
    finally:
        shown.close()


class _Lines:
    """A line every few seconds."""

    def __init__(self, what: str) -> None:
        self.what, self.started, self.before = what, time.monotonic(), 0
        self.said = self.started + PATIENCE - EVERY

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < self.before:  # the work entered another phase
            self.started = now
        self.before = done
        if now - self.said < EVERY or now == self.started:
            return
        self.said = now
        left = duration((now - self.started) * (total - done) / done) if done else "?"
        print(f"{self.what} {done} of {total}, {left} left", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing is open."""


class _Bar:
    """A bar that appears after two seconds and goes when it is done."""

    def __init__(self, what: str) -> None:
        self.what, self.started = what, time.monotonic()
        self.bars: Any = None
        self.task: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self.bars is None:
            if time.monotonic() - self.started < PATIENCE:
                return
            self._open()
        self.bars.update(self.task, completed=done, total=total)

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import Progress as Bars

        self.bars = Bars(console=Console(stderr=True), transient=True)
        self.bars.start()
        self.task = self.bars.add_task(self.what, total=None)

    def close(self) -> None:
        """Take the bar away."""
        if self.bars is not None:
            self.bars.stop()
