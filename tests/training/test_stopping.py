"""Stop signals."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from vitrail.training import stopping


def test_the_first_signal_asks_and_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with stopping.watched() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGTERM)  # asking again changes nothing
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


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
