"""The numbers of a stage that a checkpoint keeps. JSON gives Python floats back exactly, so resuming is exact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vitrail.training.distributed import Ranks

PATIENCE = 10  # looks without a new best, at least, before a stage ends early
WORSE = 0.02  # of the best loss: how far above it the loss must have risen by then


@dataclass
class Progress:
    """What a stage knows of its held-out loss; part of its state."""

    losses: dict[str, float] = field(default_factory=dict)  # of the last look: "loss" and every term
    first: float = math.nan  # loss before the first step
    best: float = math.inf
    best_step: int = 0
    looks: int = 0  # since the best
    rounds: int = 0  # passes over the samples that make a look; 0: not known yet

    def see(self, losses: Mapping[str, float], step: int) -> bool:
        """Take in a look; whether it is the best so far of weights that were trained."""
        self.losses = dict(losses)
        if step == 0:
            self.first = losses["loss"]
            return False
        better = losses["loss"] < self.best
        if better:
            self.best, self.best_step, self.looks = losses["loss"], step, 0
        else:
            self.looks += 1
        return better

    def stalled(self, step: int) -> bool:
        """Whether the loss has been rising for so long that training on makes nothing better."""
        if self.looks < PATIENCE or step < 1.5 * self.best_step:
            return False
        return self.losses["loss"] > self.best + WORSE * abs(self.best)


@dataclass
class State:
    """Where a stage is."""

    step: int = 0  # steps done, refused ones included
    seconds: float = 0.0  # spent so far
    aside: float = 0.0  # of them on looks at held-out samples, lines of the log, previews and checkpoints
    refused: int = 0  # steps whose loss or gradient was not finite
    refused_in_row: int = 0
    rollbacks: int = 0
    rate_scale: float = 1.0  # halved by every rollback
    sums: dict[str, tuple[float, int]] = field(default_factory=dict)  # since the last log line: sum and count by name
    last: dict[str, Any] = field(default_factory=dict)  # the last log line
    precision: dict[str, Any] = field(default_factory=dict)
    validation: Progress = field(default_factory=Progress)
    early: bool = False  # ended before its budget, since its held-out loss rose
    finished: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.validation, Mapping):
            self.validation = Progress(**self.validation)

    @property
    def updates(self) -> int:
        """Steps that moved the weights."""
        return self.step - self.refused

    def printed(self) -> dict[str, Any]:
        """JSON form; `State(**printed)` reads it back."""
        return asdict(self)

    def refuse(self) -> None:
        """Count a step that was left out."""
        self.refused += 1
        self.refused_in_row += 1

    def take(self, numbers: Mapping[str, float]) -> None:
        """Count a step that was made, and add its numbers to those of the next log line."""
        self.refused_in_row = 0
        sums = self.sums
        for name, number in numbers.items():
            total, count = sums.get(name, (0.0, 0))
            sums[name] = (total + number, count + 1)

    def means(self, ranks: Ranks) -> dict[str, float]:
        """Means since the last log line, over steps and processes, by sorted names; starts the next line."""
        self.share(ranks)
        means = {name: total / count for name, (total, count) in sorted(self.sums.items())}
        self.sums = {}
        return means

    def share(self, ranks: Ranks) -> None:
        """Give every process the mean sums, so that any of them may write or resume from a checkpoint."""
        totals = ranks.mean([total for total, _ in self.sums.values()])
        self.sums = {name: (total, self.sums[name][1]) for name, total in zip(self.sums, totals, strict=True)}
