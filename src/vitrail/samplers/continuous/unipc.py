"""UniPC-2: foretell a step as `dpmpp_2m` does, then correct it by the next call, which was due anyway; one call and order 3.

The last step stays as foretold, as correcting it would cost a call; one from a signal of 0 or to a noise of 0 is of order 1.
Zhao et al. 2023 (UniPC), algorithms 5 and 6, for data prediction, with their B2(h) = expm1(h).
"""

from __future__ import annotations

import math

from torch import Tensor

from vitrail.samplers.continuous._solver import Denoise, Levels, Noise, span, steps, towards
from vitrail.samplers.continuous.dpmpp_2m import foretold

ORDER = 3
CALLS = 1


def sample(denoise: Denoise, z: Tensor, levels: Levels, noise: Noise | None = None) -> Tensor:
    """z at the last level."""
    walk, last = steps(levels), len(levels) - 2
    x, before, h_before = denoise(z, levels[0]), None, math.inf
    for i, here, there in walk:
        h = span(here, there)
        guess = towards(z, foretold(x, before, h, h_before), here, there)
        if i == last:
            return guess
        seen = denoise(guess, there)
        z = towards(z, _corrected(x, before, seen, h, h_before), here, there)
        x, before, h_before = seen, x, h
    return z


def _corrected(x: Tensor, before: Tensor | None, seen: Tensor, h: float, h_before: float) -> Tensor:
    """The data that a step of length h moves towards, now that it was `seen` at its end as well."""
    if math.isinf(h):
        return x
    if before is None or math.isinf(h_before):
        return x + (seen - x) / 2
    behind, ahead = _weights(h, h_before)
    return x + behind * (before - x) + ahead * (seen - x)


def _weights(h: float, h_before: float) -> tuple[float, float]:
    """Weights of the differences to the call before and to the one seen: they make the step exact where the data is a parabola.

    Solves sum_m w_m r_m^k = b_k for r = (-h_before / h, 1) and k = 1, 2.  Zhao et al. 2023, eq. 5, with -h for h.
    """
    whole = math.expm1(-h)
    first = -whole / h - 1  # h phi_2 and, next, h^2 phi_3 of their section 3.1
    second = -first / h - 0.5
    b1, b2 = first / whole, 2 * second / whole
    r = -h_before / h
    behind = (b2 - b1) / (r - 1)
    return behind / r, b1 - behind
