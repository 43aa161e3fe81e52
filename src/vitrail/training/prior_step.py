"""The prior's step: what a batch of latents costs it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vitrail.priors._prior import Prior
from vitrail.training.job import Losses, StepModule
from vitrail.types import Latent


@dataclass(frozen=True)
class CodeBatch:
    """Encoded samples on their way into a prior."""

    latent: Tensor  # codes (B, Q, *S) int64, or z (B, C, *S)
    label: Tensor  # (B,) int64; -1 where unknown
    condition: Tensor | None = None  # of the degraded pictures, like `latent`; or captions (B, T) int64


class PriorStep(StepModule):
    """The prior's own terms on latents that were encoded beforehand."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def at(self, progress: float) -> None:
        self.prior.at(progress)

    def forward(self, batch: CodeBatch) -> Losses:
        discrete = not batch.latent.is_floating_point()
        latent = Latent(batch.latent, batch.latent if discrete else None)
        terms = self.prior.terms(latent, batch.label, batch.condition)
        return Losses(terms)
