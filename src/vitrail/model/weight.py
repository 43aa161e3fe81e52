"""What a loss term counts: a number, or a ramp that follows the share of the stage that is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, FiniteFloat, Tag

from vitrail.types import Config


class Ramp(Config):
    """A weight that moves linearly, once or in cycles.

    One cycle: warm-up (Bowman et al. 2016). Several: cyclical annealing (Fu et al. 2019, eq. 6, there 4 cycles and `over` 0.5).
    `start` above `peak` lets a term fade, as the entropy's does in BSQ (Zhao et al. 2024).
    """

    start: FiniteFloat = Field(0.0, description="weight at the beginning of a cycle")
    peak: FiniteFloat = Field(1.0, description="weight that it reaches and keeps until the end of the cycle")
    over: float = Field(0.5, ge=0, le=1, description="share of a cycle over which it moves; 0: it jumps")
    cycles: int = Field(1, ge=1, description="how often it begins anew")
    after: float = Field(
        0.0, ge=0, lt=1, description="share of the stage that passes at `start` before the first cycle"
    )

    def at(self, progress: float) -> float:
        """The weight when a share of the stage, 0 to 1, is done."""
        passed = self.cycles * (progress - self.after) / (1 - self.after)  # cycles
        if passed < 0:
            return self.start
        within = passed % 1 if passed < self.cycles else 1.0  # the end of the last cycle begins no other
        return self.start + (self.peak - self.start) * (within / self.over) if within < self.over else self.peak


Weight = Annotated[
    Annotated[FiniteFloat, Tag("number")] | Annotated[Ramp, Tag("ramp")],
    Discriminator(lambda value: "ramp" if isinstance(value, Ramp | Mapping) else "number"),
]


def current(weights: Mapping[str, float | Ramp], progress: float) -> dict[str, float]:
    """Every weight as a number."""
    return {name: each.at(progress) if isinstance(each, Ramp) else each for name, each in weights.items()}


def moving(weights: Mapping[str, float | Ramp], progress: float) -> dict[str, float]:
    """Those of them that are ramps."""
    return current({name: each for name, each in weights.items() if isinstance(each, Ramp)}, progress)


def ramp(printed: Any) -> dict[str, Any]:
    """A weight's printed form as that of a ramp, whose fields can then be set one by one: a number becomes its peak."""
    if isinstance(printed, dict):
        return printed
    return {} if printed is None else {"peak": printed}
