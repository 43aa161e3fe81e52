"""What diffusion and flow priors learn, and from what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vitrail.priors._levels import Name as Distribution
from vitrail.priors._prediction import Name as Prediction
from vitrail.samplers.path import Name as PathName
from vitrail.types import Config as PartConfig


class Config(PartConfig):
    """A denoiser, what it predicts, and where it is trained."""

    own_terms = ("uncertainty", "consistency")

    path: PathName = Field("cosine", description="how data turns into noise: z = a(t) x + s(t) n")
    predicts: Prediction = Field("v", description="what the net gives out; all can be turned into each other")
    levels: Distribution = Field("uniform", description="distribution of the noise levels that it is trained at")
    mean: float = Field(0.0, description="log-normal: mean of ln sigma; logit-normal: of ln t / (1 - t)")
    std: float = Field(1.0, gt=0, description="log-normal: spread of ln sigma; logit-normal: of ln t / (1 - t)")
    shift: float = Field(1.0, gt=0, description="every sigma of training times this; above 1 for large latents")
    weighting: Literal["none", "min-snr", "uncertainty"] = Field(
        "none", description="how much a level counts; uncertainty: as little as its error is large, which is learnt"
    )
    gamma: float = Field(5.0, gt=0, description="min-snr: signal-to-noise ratio above which levels count alike")
    label_dropout: float = Field(
        0.1, ge=0, le=1, description="share of samples trained without their class and condition, for guidance"
    )
    self_conditioning: bool = Field(False, description="the net reads its own estimate of the step before")
    guide: float = Field(
        0.0, ge=0, lt=1, description="share of training after which a copy is kept to steer away from; 0: none"
    )
    likelihood_steps: int = Field(64, ge=1, description="steps of the solver that nats are found by")
    likelihood_probes: int = Field(4, ge=1, description="random directions that the divergence is found by")
