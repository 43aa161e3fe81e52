"""What a person sees."""

from __future__ import annotations

import math

import pytest

from vitrail.training.journal import Moment
from vitrail.training.progress import displayed, duration, facts


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7620, "2 h 07 min"), (math.nan, "?")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_facts_of_a_moment() -> None:
    assert facts(Moment("codec", 7, 0.1, 0.12345, 99.6, 61)) == "step 7  loss 0.1235  100 images/s  1 min 01 s left"


def test_without_a_terminal_lines_come_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with displayed() as show:
        for progress in (0.1, 0.2, 1.0):
            show(Moment("codec", 7, progress, 0.1, 99.6, 61))
        show(Moment("prior", 1, 0.3, 0.1, 99.6, 61))
    lines = capsys.readouterr().err.splitlines()
    assert [line[:10].strip() for line in lines] == ["codec  10%", "codec 100%", "prior  30%"]
