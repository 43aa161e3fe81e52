"""Stopping on request: SIGTERM or SIGINT end training after the current step, with a checkpoint."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stop:
    """Whether a stop was asked for."""

    def __init__(self) -> None:
        self.requested = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: the first signal asks, a second SIGINT stops at once. Raises KeyboardInterrupt."""
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def watched() -> Iterator[Stop]:
    """Listen to SIGTERM and SIGINT inside the block; a block inside it shares what was heard.

    Outside the main thread, where Python allows no handlers, nothing is heard.
    """
    outer = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(outer, Stop):
        yield outer
        return
    stop, earlier = Stop(), {}
    if threading.current_thread() is threading.main_thread():
        earlier = {number: signal.signal(number, stop.handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
