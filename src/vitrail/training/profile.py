"""Power-law averages of weights: how much each step counts in them, and how one of any width is put together from others.

An average whose update k has the decay (1 - 1/k)^(e + 1) weighs step j of t in proportion to j^e. Its width is the standard
deviation of that profile as a share of the training so far, so it forgets the beginning however long training takes.
Source: Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", section 3 and appendix C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitrail.errors import UsageError

WIDEST = 12**-0.5  # of the profile that weighs all steps alike


@dataclass(frozen=True)
class Profile:
    """The weight of moment j of an average that ends at moment t: (e + 1) j^e / t^(e + 1) for j <= t."""

    time: float  # t, in updates
    exponent: float  # e > 0

    @classmethod
    def of(cls, width: float, time: float) -> Profile:
        """The one of a width. Raises UsageError for a width that none has."""
        return cls(time, exponent(width))


@dataclass(frozen=True)
class Combination:
    """What each of some averages counts in another one."""

    weights: np.ndarray  # (N,) float64, together 1; some are negative
    missed: float  # length of what is wrong with the combined profile, relative to that of the wanted one


def exponent(width: float) -> float:
    """The exponent of the profile whose standard deviation is `width` of the training so far."""
    if not 0 < width < WIDEST:
        raise UsageError(f"the width of an average is between 0 and {WIDEST:.3f} of the training, got {width:g}")
    return float(np.roots([1, 7, 16 - width**-2, 12 - width**-2]).real.max())


def decay(updates: int, exponent: float) -> float:
    """What is kept of an average in its next update, after `updates` earlier ones; 0 in the first."""
    return float((1 - 1 / (updates + 1)) ** (exponent + 1))


def products(left: Sequence[Profile], right: Sequence[Profile]) -> np.ndarray:
    """(L, R) inner products of profiles, integrated over the moments, in float64."""
    times, exponents = _columns(left)
    other_times, other_exponents = (row.T for row in _columns(right))
    later = np.maximum(times, other_times)
    ratio = np.minimum(times, other_times) / later
    outer = np.where(times < other_times, other_exponents, exponents)  # of the one that ends later
    size = (exponents + 1) * (other_exponents + 1) / ((exponents + other_exponents + 1) * later)
    return np.asarray(size * ratio**outer)


def combine(stored: Sequence[Profile], wanted: Profile) -> Combination:
    """The least-squares fit of a profile by others, with weights whose sum is 1, so that what stood still stays as it is.

    stored: no two alike.
    """
    count, unit = len(stored), wanted.time  # times an inner product is free of the unit of time
    within, towards = unit * products(stored, stored), unit * products(stored, [wanted])[:, 0]
    system = np.ones((count + 1, count + 1))
    system[:count, :count], system[count, count] = within, 0
    weights = np.linalg.solve(system, np.append(towards, 1.0))[:count]  # the last one is Lagrange's multiplier
    whole = unit * float(products([wanted], [wanted])[0, 0])
    wrong = float(whole - 2 * weights @ towards + weights @ within @ weights)
    return Combination(weights, (max(wrong, 0.0) / whole) ** 0.5)


def _columns(profiles: Sequence[Profile]) -> tuple[np.ndarray, np.ndarray]:
    return (
        np.array([[each.time] for each in profiles], np.float64),
        np.array([[each.exponent] for each in profiles], np.float64),
    )
