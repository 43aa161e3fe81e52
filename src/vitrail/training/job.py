"""What one stage of training is given and what it gives back."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from vitrail.model.recipe import Descent, Stage
from vitrail.model.weight import Ramp
from vitrail.training.budget import Budget


@dataclass(frozen=True)
class Losses:
    """What a step module makes of a batch: unweighted losses, scalar or (B,), and scalars for the log."""

    terms: dict[str, Tensor]
    stats: dict[str, Tensor] = field(default_factory=dict)


class StepModule(nn.Module, ABC):
    """What the loop trains: single-device, and ignorant of precision, processes and optimisers.

    Its randomness comes from torch's global generator, which the loop seeds before every step.
    """

    uncompiled: ClassVar[tuple[str, ...]] = ()  # methods that torch.compile leaves as they are

    @abstractmethod
    def forward(self, batch: Any) -> Losses:
        """Losses of a batch, or of one round of a batch that is accumulated in several."""

    def at(self, progress: float) -> None:
        """Called before every step with the share of the stage that is done, 0 to 1, the same on every process."""

    def contest(self) -> Any:
        """What the job's rival learns from, made in this step's forward passes; None where there is nothing."""
        return None

    def after_step(self) -> None:
        """Called once per step, after the optimiser; also if the step was refused, when values may not be finite."""

    def observed(self) -> dict[str, float]:
        """Statistics over more than one batch, for a line of the log; the same on every process."""
        return {}

    def histograms(self) -> dict[str, Tensor]:
        """Values whose distribution TensorBoard shows now and then."""
        return {}


@dataclass(frozen=True)
class Rival:
    """A second module that learns in the same steps, from what the first one made (`StepModule.contest`)."""

    name: str  # "discriminator"; names its part of checkpoints and its numbers in the log
    module: StepModule
    config: Descent
    weights: Mapping[str, float | Ramp]


@dataclass(frozen=True)
class Job:
    """One stage: which module learns from which batches, how, and for how long."""

    name: str  # "codec" or "prior"; names the stage's checkpoints and log lines
    module: StepModule
    batches: Callable[[int], Iterator[Any]]  # from a step on, endless: this process's part, dataclasses of tensors
    config: Stage
    weights: Mapping[str, float | Ramp]  # of terms; a term not named counts 1
    budget: Budget
    samples: int  # size of the training set, which epochs are counted in
    preview: Callable[[nn.Module, int], None] | None = None  # (averaged module in eval mode, step), first process only
    rival: Rival | None = None
    listen: Callable[[Mapping[str, Any]], None] | None = None  # called with every line of the log, first process only
    heldout: Any = None  # a batch whose loss is watched; None where there is none
    judged: tuple[str, ...] | None = None  # terms that the held-out loss is made of; None: all
    select: bool = False  # the weights of the best held-out loss are kept, and the stage ends early where it rises


@dataclass(frozen=True)
class Finished:
    """A stage at its end. The job's module holds the final weights."""

    steps: int
    seconds: float  # spent training, over all resumes
    metrics: dict[str, Any]  # the last line of the log
    averaged: (
        nn.Module
    )  # the module with averaged weights, the best or the last; the job's own where there is no average
    precision: dict[str, Any]  # what was measured and chosen at the start
    refused: int  # steps left out for a loss or gradient that was not finite
    heldout: tuple[float, float] = (math.nan, math.nan)  # loss before the first step, and of the weights that were kept
    early: bool = False  # it ended before its budget, since the held-out loss rose
    best_step: int = 0  # of the weights that were kept
