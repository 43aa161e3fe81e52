"""Power-law profiles against sums over their moments, and combinations against averages that were tracked directly."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vitrail.errors import UsageError
from vitrail.training.profile import WIDEST, Profile, combine, decay, exponent, products

STEPS = 4000
STORED = [Profile.of(width, STEPS * part / 16) for part in range(1, 17) for width in (0.05, 0.10)]


def shape(profile: Profile, steps: int = STEPS) -> np.ndarray:
    """What each step counts: the profile integrated over the step."""
    edges = np.minimum(np.arange(steps + 1), profile.time) / profile.time
    return np.diff(edges ** (profile.exponent + 1))


def tracked(values: np.ndarray, width: float) -> float:
    """The average, updated step by step."""
    average, power = 0.0, exponent(width)
    for updates, value in enumerate(values):
        average += (1 - decay(updates, power)) * (value - average)
    return average


@pytest.mark.parametrize("width", [0.02, 0.05, 0.1, 0.25])
def test_the_width_is_the_standard_deviation(width: float) -> None:
    weights, moments = shape(Profile.of(width, STEPS)), (np.arange(STEPS) + 0.5) / STEPS
    mean = weights @ moments
    assert weights.sum() == pytest.approx(1)
    assert math.sqrt(weights @ (moments - mean) ** 2) == pytest.approx(width, rel=1e-3)


def test_wider_profiles_have_smaller_exponents_up_to_even_weights() -> None:
    exponents = [exponent(width) for width in np.linspace(0.01, 0.288, 50)]
    assert exponents == sorted(exponents, reverse=True)
    assert exponents[-1] > 0
    assert exponent(WIDEST - 1e-9) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("width", [-0.1, 0.0, 0.3])
def test_a_width_that_no_profile_has(width: float) -> None:
    with pytest.raises(UsageError, match=r"between 0 and 0\.289"):
        exponent(width)


def test_products_are_the_sums_over_steps() -> None:
    some = [STORED[3], STORED[16], STORED[31], Profile.of(0.07, STEPS)]
    sums = np.array([[shape(one) @ shape(other) for other in some] for one in some])
    assert products(some, some) == pytest.approx(sums, rel=2e-3)
    assert products(some, some) == pytest.approx(products(some, some).T)


def test_a_stored_average_is_itself() -> None:
    for index in (0, 17, 30, 31):
        made = combine(STORED, STORED[index])
        assert made.weights == pytest.approx(np.eye(32)[index], abs=1e-8)
        assert made.missed < 1e-6


@pytest.mark.parametrize("width", [0.04, 0.06, 0.07, 0.085, 0.12, 0.15])
def test_the_combination_is_the_average_tracked_directly(width: float) -> None:
    """On the path of a weight that drifts, bends and shakes, as in appendix C of the source."""
    steps, noise = np.arange(STEPS), np.random.default_rng(0).standard_normal(STEPS)
    path = np.tanh(steps / 1000) + 0.3 * np.sin(steps / 400) + 0.2 * noise
    stored = [tracked(path[: int(each.time)], width) for each in STORED[::2] for width in (0.05, 0.10)]
    made = combine(STORED, Profile.of(width, STEPS))
    assert made.missed < 0.011
    assert made.weights @ stored == pytest.approx(tracked(path, width), abs=2e-3)


def test_what_stood_still_stays_as_it_is_and_more_snapshots_miss_less() -> None:
    wanted = Profile.of(0.02, STEPS)
    few, many = combine(STORED[-8:], wanted), combine(STORED, wanted)
    assert few.weights.sum() == pytest.approx(1, abs=1e-12)
    assert many.weights.sum() == pytest.approx(1, abs=1e-12)
    assert many.missed <= few.missed + 1e-12
    assert combine(STORED, Profile.of(0.03, STEPS)).missed < many.missed


def test_what_is_missed_is_the_distance_of_the_profiles() -> None:
    wanted = Profile.of(0.2, STEPS)
    made = combine(STORED, wanted)
    off = sum(weight * shape(each) for weight, each in zip(made.weights, STORED, strict=True)) - shape(wanted)
    assert made.missed == pytest.approx(np.linalg.norm(off) / np.linalg.norm(shape(wanted)), rel=0.05)
