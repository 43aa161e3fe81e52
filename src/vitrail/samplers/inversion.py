"""From data to the noise that a deterministic solver makes it of."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vitrail.errors import UsageError
from vitrail.samplers.continuous._solver import Denoise, Levels
from vitrail.samplers.path import Level


def rising(levels: Levels) -> tuple[Level, ...]:
    """The levels of a sampler from the cleanest that has noise to the noisiest.

    Raises UsageError where fewer than two are left.
    """
    found = tuple(level for level in reversed(levels) if level.noise)
    if len(found) < 2:
        raise UsageError(
            f"the way from data to noise needs at least 2 levels with noise, got {len(found)}; take more steps"
        )
    return found


def invert(sample: Callable[[Denoise, Tensor, Levels], Tensor], denoise: Denoise, x: Tensor, levels: Levels) -> Tensor:
    """z (B, C, *S) at levels[0], from which sampling along the same levels leads back to x, up to the solver's error.

    sample: of a solver, with no noise: eta, where there is one, is 0. x counts as the data of the lowest level with noise, so that
    level should be low. Inversion of DDIM: Song et al. 2021, section 5.4.
    """
    up = rising(levels)
    return sample(denoise, x * up[0].signal, up)
