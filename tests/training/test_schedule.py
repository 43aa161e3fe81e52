"""The learning rate over a stage."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.training.schedule import factor


@pytest.mark.parametrize(
    ("decay", "halfway"), [("cosine", (1 + math.cos(math.pi * 0.5)) / 2), ("linear", 0.5), ("none", 1.0)]
)
def test_rise_peak_and_fall(decay: str, halfway: float) -> None:
    assert factor(0.0, 0.2, decay) == 0
    assert factor(0.1, 0.2, decay) == pytest.approx(0.5)
    assert factor(0.2, 0.2, decay) == 1
    assert factor(0.6, 0.2, decay) == pytest.approx(halfway)
    assert factor(1.0, 0.2, decay) == (1 if decay == "none" else 0)


def test_without_a_warmup_it_starts_at_the_peak() -> None:
    assert factor(0.0, 0.0, "cosine") == 1


@given(st.floats(0, 1), st.floats(0, 0.99), st.sampled_from(["cosine", "linear", "none"]))
def test_it_stays_between_0_and_1(progress: float, warmup: float, decay: str) -> None:
    assert 0 <= factor(progress, warmup, decay) <= 1 + 1e-12
