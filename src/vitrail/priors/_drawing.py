"""How continuous priors draw: which solver, along which levels, steered by what."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator

from vitrail.errors import UsageError
from vitrail.priors._prior import Settings as PriorSettings
from vitrail.samplers.continuous import solver
from vitrail.samplers.continuous._solver import Solver
from vitrail.samplers.path import Level, Path
from vitrail.samplers.schedule import Kind, levels

SHORTCUT = "shortcut"


class Settings(PriorSettings):
    """How to draw."""

    sampler: str = Field(
        "dpmpp-2m",
        description="solver: euler, heun, ddim, dpmpp-2m, ...; shortcut: euler that tells a few-step model how far it goes",
    )
    steps: int = Field(20, ge=1, description="steps from noise to data; heun and dpmpp-sde call the net twice in each")
    schedule: Kind | None = Field(
        None, description="how the noise falls over the steps; null: karras, and uniform for shortcut"
    )
    rho: float = Field(7.0, gt=0, description="karras: the larger, the more steps at low noise")
    lowest: float | None = Field(None, gt=0, description="sigma before the step to data; null: as low as was learnt")
    highest: float | None = Field(None, gt=0, description="sigma to begin at; null: as high as was learnt")
    shift: float = Field(1.0, gt=0, description="uniform and trailing: above 1 more steps at high noise")
    eta: float | None = Field(
        None, ge=0, le=1, description="share of fresh noise that a stochastic solver adds in its steps; null: its own"
    )
    guidance: float = Field(
        1.0, ge=0, description="1: none; above 1 class and condition show more clearly, with less variety"
    )
    reference: Literal["class", "snapshot"] = Field(
        "class",
        description="what guidance leads away from: no class and condition, or the prior earlier in its training",
    )
    interval: tuple[float, float] | None = Field(
        None, description="lowest and highest sigma that guidance works at; null: everywhere"
    )

    @field_validator("sampler")
    @classmethod
    def _canonical(cls, sampler: str) -> str:
        """By the one name that it is stored and compared by: dpmpp_2m becomes dpmpp-2m."""
        name = sampler.replace("_", "-")
        if name != SHORTCUT:
            try:
                solver(name)
            except UsageError as error:
                raise ValueError(f"{error}, and {SHORTCUT} for few-step models") from None
        return name

    @field_validator("interval")
    @classmethod
    def _rises(cls, interval: tuple[float, float] | None) -> tuple[float, float] | None:
        if interval is not None and not 0 <= interval[0] < interval[1]:
            raise ValueError("wants the lower sigma first, neither below 0")
        return interval

    @property
    def guided_from_to(self) -> tuple[float, float]:
        """The interval of guidance, open at the lower end."""
        return self.interval or (0.0, math.inf)

    @property
    def leaps(self) -> bool:
        """Whether the net is told how far a step goes."""
        return self.sampler == SHORTCUT

    def solver(self) -> Solver:
        """Raises UsageError for an eta that it has no use for."""
        found = solver("euler" if self.leaps else self.sampler)
        if self.eta is not None and not found.stochastic:
            raise UsageError(f"sampler={self.sampler} adds no noise, so it takes no eta; use ddim, ddpm or dpmpp-sde")
        return found

    def levels(self, path: Path) -> tuple[Level, ...]:
        """From the noisiest to data. Raises UsageError for settings that contradict each other."""
        kind = self.schedule or ("uniform" if self.leaps else "karras")
        return levels(path, self.steps, kind, rho=self.rho, lowest=self.lowest, highest=self.highest, shift=self.shift)

    def check(self, path: Path, few_steps: bool, snapshot: bool) -> None:
        """Raises UsageError for what a prior along this path cannot do."""
        if self.leaps and not few_steps:
            raise UsageError(
                "sampler=shortcut wants a few-step model: train with prior.few_steps=true, or use another sampler"
            )
        if self.guidance != 1 and self.reference == "snapshot" and not snapshot:
            raise UsageError(
                "reference=snapshot wants a prior that kept one: train with prior.guide=0.3, or use reference=class"
            )
        self.solver()
        self.levels(path)
