"""A stage says once that other programs use its cores."""

from __future__ import annotations

import logging

import pytest

from vitrail import processor
from vitrail.training.crowding import WINDOW, Crowding


class Busy:
    """Others that keep so many cores busy."""

    cores = 0.0

    def others(self) -> float:
        return self.cores


@pytest.mark.parametrize(("threads", "advice"), [(2, "training.threads=1"), (1, "buys less")])
def test_it_is_said_once(
    threads: int, advice: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processor, "Watch", Busy)
    monkeypatch.setattr(processor, "cores", lambda: 2)
    crowding = Crowding("codec", threads)
    with caplog.at_level(logging.WARNING):
        crowding.look(WINDOW + 1)
        assert not caplog.messages
        monkeypatch.setattr(Busy, "cores", 1.0)
        crowding.look(WINDOW + 2)  # the window has not passed yet
        assert not caplog.messages
        for round in range(3):
            crowding.look((round + 3) * WINDOW)
    [line] = caplog.messages
    assert "1.0 of 2 cores" in line
    assert advice in line
