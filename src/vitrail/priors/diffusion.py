"""Diffusion: data is what is left of noise when a net has taken it off, along a path that keeps the variance or lets it grow.

The path, the net's prediction, the levels of training and their weights are independent choices, among which lie the published
ones: DDPM (path linear, predicts eps), progressive distillation (cosine, v), EDM (exploding, edm, levels log-normal).
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from vitrail.priors import _learning
from vitrail.priors._continuous import Continuous
from vitrail.priors._drawing import Settings
from vitrail.types import LatentSpec


class Config(_learning.Config):
    """Denoiser along a path from data to noise."""

    sampling: Settings = Field(Settings(), description="how to draw when the user says nothing")

    def build(self, spec: LatentSpec, classes: int, conditional: bool, denoiser: Any, captions: int = 0) -> Continuous:
        """denoiser: Config of a file in networks/denoiser; captions: bytes of those that it is given, 0: none.

        Raises UsageError for settings that do not go together.
        """
        prior = Continuous(self, spec, classes, conditional, denoiser, captions)
        self.sampling.check(prior.path, few_steps=False, snapshot=prior.guide is not None)
        return prior
