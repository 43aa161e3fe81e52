"""What every solver is: a function from noise to data along the levels of a path.

    sample(denoise, z, levels, noise) -> z at the last level, in z's type

levels: from the noisiest to the cleanest, where z stands at the first of them; the last one is usually `path.DATA`. Where no noise
is added (no eta, or eta 0) they may rise as well: that is inversion, and it begins above DATA, which holds no noise to read.
denoise(z, level) gives the data x (B, C, *S) that z (B, C, *S) is expected to be made of; a solver knows nothing else of a model.
Careful: a solver may ask for levels between those given, which need not lie on the path; z is signal * x + noise * n all the same.
noise(i): fresh standard normal noise like z, number i of this draw; only stochastic solvers ask for it. Row b of everything
depends on row b of z and noise alone.

A file declares ORDER, the power of the step size that its error falls with, CALLS, how often it calls `denoise` per step, and,
where it is stochastic, takes `eta`: 0 none of the noise, 1 as much as the reverse process of the path has. The order is that of
single paths, and, with noise, of the distribution. A step from a signal of 0 or to a noise of 0 is as long as can be, h infinite,
and mostly of order 1.
Coefficients are Python's floats, of 64 bits, whatever z is.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType

from torch import Tensor

from vitrail.errors import UsageError
from vitrail.samplers.path import Level

Denoise = Callable[[Tensor, Level], Tensor]
Noise = Callable[[int], Tensor]
Levels = Sequence[Level]


@dataclass(frozen=True)
class Solver:
    """A solver's file, read."""

    order: int
    calls: int
    stochastic: bool
    sample: Callable[..., Tensor]  # (denoise, z, levels, noise, eta=... where stochastic)

    @classmethod
    def of(cls, module: ModuleType) -> Solver:
        """From the module."""
        return cls(module.ORDER, module.CALLS, "eta" in inspect.signature(module.sample).parameters, module.sample)


def steps(levels: Levels, noise: Noise | None = None, eta: float = 0.0) -> Iterator[tuple[int, Level, Level]]:
    """Number, begin and end of every step.

    Raises UsageError on levels, noise or an eta that no solver can use.
    """
    if len(levels) < 2:
        raise UsageError(f"a solver goes from level to level and needs two of them, got {len(levels)}")
    if any(level.noise == 0 for level in levels[:-1]):
        raise UsageError("a step cannot begin where there is no noise; leave that level out, or end there")
    if not 0 <= eta <= 1:
        raise UsageError(f"eta, the share of the noise, lies between 0 and 1, got {eta}")
    if eta and noise is None:
        raise UsageError(f"eta {eta} adds noise in every step and needs `noise`; give it, or eta 0")
    if eta and any(there.sigma > here.sigma for here, there in pairwise(levels)):
        raise UsageError(f"levels rise, and only a sampler without noise runs backwards; eta must be 0, got {eta}")
    return ((i, levels[i], levels[i + 1]) for i in range(len(levels) - 1))


def towards(z: Tensor, x: Tensor, here: Level, there: Level, kept: float = 1.0) -> Tensor:
    """z moved between two levels as if it were exactly x under noise: the step that all solvers are made of.

    kept: the share of the noise's amplitude that stays; the rest is left out, for `fresh` to fill.
    Song et al. 2021 (DDIM), eq. 12; with all noise kept it is Euler's step of the differential equation in sigma, on every path.
    """
    ratio = kept * there.noise / here.noise
    return (ratio * z + (there.signal - ratio * here.signal) * x).to(z.dtype)


def fresh(there: Level, kept: float, noise: Noise | None, number: int, z: Tensor) -> Tensor | float:
    """The noise that fills up what `towards` has left out; 0 where it is nothing."""
    scale = there.noise * math.sqrt(max(0.0, 1 - kept**2))
    return scale * noise(number).to(z) if noise is not None and scale else 0.0


def kept_by_diffusion(here: Level, there: Level, eta: float) -> float:
    """Share of the noise's amplitude that outlives the reverse process with eta^2 of its noise, were x fixed.

    dy = (1 + eta^2) (y - x) / sigma d sigma + eta sqrt(2 sigma) dw, solved exactly: (sigma' / sigma)^(eta^2), for y = z / signal.
    Song et al. 2021b, eq. 6, with the family of Karras et al. 2022, eq. 6.
    """
    return (there.noise * here.signal / (there.signal * here.noise)) ** eta**2 if eta else 1.0


def span(here: Level, there: Level) -> float:
    """h: by how much half the log of the signal-to-noise ratio grows; infinite from a signal of 0 or to a noise of 0."""
    return there.half_log_snr - here.half_log_snr


def gain(here: Level, there: Level) -> float:
    """How much of the data a step of `towards` moves in: signal' (1 - exp(-h)), finite for every pair of levels."""
    return there.signal - here.signal * there.noise / here.noise
