"""Flow: noise is carried to data along straight lines, by a velocity that a net has learnt; in few steps, if it learns those too.

Rectified flow (Liu et al. 2023; Lipman et al. 2023), trained mostly in the middle of the way (Esser et al. 2024).
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from vitrail.priors import _learning
from vitrail.priors._continuous import Continuous
from vitrail.priors._drawing import Settings
from vitrail.priors._levels import Name as Distribution
from vitrail.priors._prediction import Name as Prediction
from vitrail.samplers.path import Name as PathName
from vitrail.types import LatentSpec


class Config(_learning.Config):
    """Velocity along straight lines from noise to data."""

    path: PathName = Field("rectified", description="how data turns into noise: z = a(t) x + s(t) n")
    predicts: Prediction = Field("flow", description="what the net gives out; all can be turned into each other")
    levels: Distribution = Field("logit-normal", description="distribution of the noise levels that it is trained at")
    few_steps: bool = Field(
        False,
        description="learn steps of every size too, for sampler=shortcut in 1 to 8 steps; ordinary ones work as well",
    )
    sampling: Settings = Field(Settings(), description="how to draw when the user says nothing")

    @model_validator(mode="after")
    def _straight(self) -> Config:
        if self.few_steps and (self.path != "rectified" or self.predicts != "flow"):
            raise ValueError(f"few_steps wants path=rectified and predicts=flow, not {self.path} and {self.predicts}")
        if self.few_steps and self.self_conditioning:
            raise ValueError("few_steps and self_conditioning exclude each other: a single step has none before it")
        return self

    def build(self, spec: LatentSpec, classes: int, conditional: bool, denoiser: Any, captions: int = 0) -> Continuous:
        """denoiser: Config of a file in networks/denoiser; captions: bytes of those that it is given, 0: none.

        Raises UsageError for settings that do not go together.
        """
        prior = Continuous(self, spec, classes, conditional, denoiser, captions, self.few_steps)
        self.sampling.check(prior.path, self.few_steps, prior.guide is not None)
        return prior
