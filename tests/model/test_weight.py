"""Ramps at the points that decide, and between them."""

import pytest

from vitrail.model.weight import Ramp, current, moving


@pytest.mark.parametrize(
    ("ramp", "points"),
    [
        (Ramp(), {0.0: 0.0, 0.25: 0.5, 0.5: 1.0, 0.9: 1.0, 1.0: 1.0}),
        (Ramp(start=0.3, peak=0.1, over=0.1), {0.0: 0.3, 0.05: 0.2, 0.1: 0.1, 1.0: 0.1}),
        (Ramp(cycles=4, peak=2.0), {0.0: 0.0, 0.0625: 1.0, 0.125: 2.0, 0.2: 2.0, 0.25: 0.0, 0.8125: 1.0, 1.0: 2.0}),
        (Ramp(after=0.5, over=0.2), {0.0: 0.0, 0.5: 0.0, 0.55: 0.5, 0.6: 1.0, 1.0: 1.0}),
        (Ramp(after=0.5, over=0.0), {0.0: 0.0, 0.499: 0.0, 0.5: 1.0, 1.0: 1.0}),
        (Ramp(over=1.0), {0.0: 0.0, 0.75: 0.75, 1.0: 1.0}),
    ],
)
def test_the_course_of_a_weight(ramp: Ramp, points: dict[float, float]) -> None:
    assert {progress: ramp.at(progress) for progress in points} == pytest.approx(points)


def test_only_ramps_move() -> None:
    weights = {"kl": Ramp(peak=4.0), "commitment": 0.25}
    assert current(weights, 0.25) == {"kl": 2.0, "commitment": 0.25}
    assert moving(weights, 0.25) == {"kl": 2.0}
