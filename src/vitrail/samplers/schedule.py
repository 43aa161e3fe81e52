"""Which levels a solver steps over: from the noisiest down to data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from vitrail.errors import UsageError
from vitrail.samplers.path import DATA, Level, Path

Kind = Literal["karras", "uniform", "trailing", "log-snr"]

LOWEST, HIGHEST = (
    0.002,
    80.0,
)  # sigma, where the path itself goes on to data or to pure noise; Karras et al. 2022, table 1


def levels(
    path: Path,
    steps: int,
    kind: Kind,
    *,
    rho: float = 7.0,
    lowest: float | None = None,
    highest: float | None = None,
    shift: float = 1.0,
) -> tuple[Level, ...]:
    """steps + 1 levels of falling noise; the last one is DATA.

    karras: sigma^(1 / rho) in equal steps, from `highest` to `lowest`, then data.  Karras et al. 2022, eq. 5.
    log-snr: ln sigma in equal steps, likewise.  Lu et al. 2022.
    uniform: the path's own t in equal steps, likewise; a path that reaches data by itself ends there.
    trailing: t at the upper ends of equal parts, as the 1000 levels of DDPM are best thinned out.  Lin et al. 2024, section 3.3.
    The latter two begin with pure noise where the path does. lowest, highest: sigma; default: what the path covers, for the former
    two at most 0.002 to 80. shift: k of `shifted`.
    Raises UsageError on fewer than one step and on settings out of range or without a meaning for the kind.
    """
    _check(steps, rho, shift, kind, lowest)
    if kind in ("karras", "log-snr"):
        power = rho if kind == "karras" else math.inf
        sigmas = _warped(*_range(path, lowest, highest), steps, power)
        return (*(path.level_of(sigma) for sigma in sigmas), DATA)
    top = 1.0 if highest is None else path.time(highest)
    times = _trailing(path.origin, top, steps) if kind == "trailing" else _uniform(path, lowest, top, steps)
    return (*_falling([path.level(shifted(t, shift)) for t in times]), DATA)


def shifted(t: float, k: float) -> float:
    """t moved towards noise (k > 1): on straight lines sigma becomes k sigma.  Esser et al. 2024, eq. 23."""
    return k * t / (1 + (k - 1) * t)


def _warped(low: float, high: float, steps: int, power: float) -> list[float]:
    """`steps` values from high to low, equally spaced after a root; the infinite root is the logarithm."""
    shares = [i / max(1, steps - 1) for i in range(steps)]
    if math.isinf(power):
        return [high * (low / high) ** share for share in shares]
    start, end = high ** (1 / power), low ** (1 / power)
    return [(start + share * (end - start)) ** power for share in shares]


def _range(path: Path, lowest: float | None, highest: float | None) -> tuple[float, float]:
    """Finite ends for sigma."""
    cleanest, noisiest = path.level(0.0).sigma, path.level(1.0).sigma
    low = lowest if lowest is not None else max(cleanest, LOWEST)
    high = highest if highest is not None else noisiest if math.isfinite(noisiest) else HIGHEST
    if not 0 < low < high < math.inf:
        raise UsageError(f"sigma falls from highest to lowest > 0, both finite for this kind; got {high} to {low}")
    return low, high


def _uniform(path: Path, lowest: float | None, top: float, steps: int) -> list[float]:
    """Equal steps of t down to the lowest sigma, which counts as a step of its own where it is not data."""
    end = 0.0 if lowest is None else path.time(lowest)
    points = steps if path.level(end).noise else steps + 1
    return [top + (end - top) * i / max(1, points - 1) for i in range(steps)]


def _trailing(origin: float, top: float, steps: int) -> list[float]:
    """Upper ends of equal parts between data and the top."""
    return [top + (origin - top) * i / steps for i in range(steps)]


def _falling(found: Sequence[Level]) -> Sequence[Level]:
    """The levels, if every one is less noisy than the one before, and the last noisier than data."""
    if any(there.sigma >= here.sigma for here, there in pairwise((*found, DATA))):
        raise UsageError(
            f"{len(found)} steps do not all lower the noise on this path; take fewer, or lowest below highest"
        )
    return found


def _check(steps: int, rho: float, shift: float, kind: Kind, lowest: float | None) -> None:
    """Raises UsageError."""
    if steps < 1:
        raise UsageError(f"a sampler takes at least 1 step, got {steps}")
    if rho <= 0 or shift <= 0:
        raise UsageError(f"rho and shift are positive, got {rho} and {shift}")
    if shift != 1 and kind in ("karras", "log-snr"):
        raise UsageError(
            f"shift moves the time of a path, which {kind} does not step in; take uniform or trailing, or shift 1"
        )
    if lowest is not None and kind == "trailing":
        raise UsageError("trailing ends where its last part ends; give lowest to uniform, karras or log-snr")
