"""What every solver is: a function from noise to data along the levels of a path.

    sample(denoise, z, levels, noise) -> z at the last level

levels: from the noisiest to the cleanest, where z stands at the first of them; the last one is usually `path.DATA`.
denoise(z, level) gives the data x (B, C, *S) that z (B, C, *S) is expected to be made of; a solver knows nothing else of a model.
noise(i): fresh standard normal noise like z, number i of this draw; only stochastic solvers ask for it. Row b of everything
depends on row b of z and noise alone.

A file declares ORDER, the power of the step size that its error falls with, CALLS, how often it calls `denoise` per step, and, where
it is stochastic, takes `eta`: 0 none of the noise, 1 as much as the reverse process of the path has.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

from torch import Tensor

from vitrail.samplers.path import Level

Denoise = Callable[[Tensor, Level], Tensor]
Noise = Callable[[int], Tensor]


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


def towards(z: Tensor, x: Tensor, here: Level, there: Level) -> Tensor:
    """z moved between two levels as if it were exactly x under noise: the step that all solvers are made of.

    Song et al. 2021 (DDIM), eq. 12 with sigma 0; Euler's step of the ordinary differential equation in sigma, on every path.
    """
    ratio = there.noise / here.noise
    return ratio * z + (there.signal - ratio * here.signal) * x


Levels = Sequence[Level]
