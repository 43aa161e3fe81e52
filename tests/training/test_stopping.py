"""Stop signals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vitrail.training import stopping


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Hang-ups are not ignored, as they are where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_the_first_signal_asks_and_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in stopping.REQUESTS]
    with stopping.watched() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGTERM)  # asking again changes nothing
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in stopping.REQUESTS] == before


def test_a_block_inside_shares_the_request() -> None:
    with stopping.watched() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with stopping.watched() as inner:
            assert inner.requested
        assert signal.getsignal(signal.SIGTERM) == stop.handle
    assert signal.getsignal(signal.SIGTERM) != stop.handle


def test_in_another_thread_nothing_is_installed() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with stopping.watched() as stop:
            seen.append((signal.getsignal(signal.SIGTERM) is before, stop.requested))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(True, False)]


@pytest.mark.parametrize("number", stopping.REQUESTS)
def test_every_request_is_heard(number: signal.Signals) -> None:
    with stopping.watched() as stop:
        os.kill(os.getpid(), number)
        assert stop.requested


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.watched() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_hangups_the_others_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.setattr(stopping, "HANGUP", None)
    monkeypatch.setattr(stopping, "REQUESTS", (signal.SIGTERM, signal.SIGINT))
    before = signal.getsignal(signal.SIGHUP)
    with stopping.watched() as stop:
        assert signal.getsignal(signal.SIGHUP) == before
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested


def test_a_closed_terminal_leaves_a_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = ["network.widths=[8,8]", "training.precision=fp32", "training.threads=1", "prior=null"]
    words = ["train", "vqvae", "--data", "digits", "--out", str(out), "--budget", "200000 steps"]
    words += [word for setting in settings for word in ("--set", setting)]
    master, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "vitrail", *words],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=lambda: (os.setsid(), os.close(os.open(os.ttyname(0), os.O_RDWR))),  # the terminal of a new session
    )
    os.close(terminal)
    os.set_blocking(master, False)
    deadline = time.monotonic() + 120
    while not (out / "status.json").exists() and time.monotonic() < deadline:
        read(master)
    os.close(master)
    try:
        assert child.wait(60) == 5
    finally:
        child.kill()
    assert max(int(path.name[-6:]) for path in (out / "checkpoints").iterdir()) > 0


def read(terminal: int) -> None:
    """Take what was written to a terminal, so that its writer is not held up."""
    time.sleep(0.1)
    try:
        os.read(terminal, 1 << 16)
    except BlockingIOError:
        return
