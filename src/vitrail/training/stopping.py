"""Stopping on request: SIGTERM, SIGINT or a closed terminal end training after the current step, with a checkpoint."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
from collections.abc import Iterator
from types import FrameType

REQUESTS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
HANGUP = getattr(signal, "SIGHUP", None)  # the terminal was closed; Windows has no such signal


class Stop:
    """Whether a stop was asked for."""

    def __init__(self) -> None:
        self.requested = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: the first signal asks, a second SIGINT stops at once. Raises KeyboardInterrupt."""
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        if number == HANGUP:
            leave_terminal()


@contextlib.contextmanager
def watched() -> Iterator[Stop]:
    """Listen to SIGTERM, SIGINT and SIGHUP inside the block; a block inside it shares what was heard.

    Outside the main thread, where Python allows no handlers, nothing is heard. SIGHUP is left alone where it is ignored, as
    `nohup` has it.
    """
    outer = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(outer, Stop):
        yield outer
        return
    stop, earlier = Stop(), {}
    if threading.current_thread() is threading.main_thread():
        heard = [each for each in REQUESTS if each != HANGUP or signal.getsignal(each) != signal.SIG_IGN]
        earlier = {number: signal.signal(number, stop.handle) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def leave_terminal() -> None:
    """Let standard output and error go nowhere where they lead to a terminal that is gone: each write there would fail."""
    for number in (1, 2):
        with contextlib.suppress(OSError):  # closed already
            if stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
