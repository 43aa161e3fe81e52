"""The held-out loss of a stage while it trains: measured now and then, and the weights kept that were best by it.

When to measure depends on steps alone, and the noise is the same every time, so that a resumed run repeats an undisturbed one.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import torch

from vitrail.model.weight import current
from vitrail.training.distributed import Ranks
from vitrail.training.ema import Average
from vitrail.training.gradient import Autocast, onto, read, seed_part, size
from vitrail.training.job import Job, StepModule
from vitrail.training.state import Progress, State
from vitrail.training.weights import weigh

MOST = 128  # held-out samples that are looked at
LEAST = 64  # samples of one look: a smaller set is gone through several times where noise is drawn
APART = 17  # samples trained on per sample looked at: a look is a third of a step's work, so they take 2 % of the time


class Validation:
    """Looks at the held-out batch of a job with the averaged weights."""

    def __init__(self, job: Job, average: Average, ranks: Ranks, seed: int) -> None:
        self.job, self.average, self.ranks = job, average, ranks
        self.seed = partial(seed_part, seed, f"{job.name} heldout", 0, device=ranks.device)
        self.batch = None if job.heldout is None else onto(ranks.device, job.heldout)
        self.count = 0 if job.heldout is None else size(job.heldout)
        self.cost = 0.0  # seconds of the last look

    def due(self, step: int, progress: Progress) -> bool:
        """Whether it is time to look again, after so many steps."""
        if not self.count:
            return False
        every = math.ceil(APART * self.count * max(progress.rounds, 1) / self.job.config.batch)
        return step % every == 0

    def wanted(self, state: State, over: bool) -> bool:
        """Whether to look after this step, which may be the last; one that was refused is followed by no look."""
        due = over or self.due(state.step, state.validation)
        return bool(self.count) and not state.refused_in_row and due

    def look(self, progress: Progress, autocast: Autocast) -> dict[str, float]:
        """Mean held-out "loss" and every term, with the weights as they count at the end of the stage."""
        started = time.perf_counter()
        devices = [self.ranks.device] if self.ranks.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.average.used() as module:
            assert isinstance(module, StepModule)
            module.at(1.0)
            if not progress.rounds and self.count >= LEAST:
                progress.rounds = 1
            if not progress.rounds:  # going through them again is of use where noise is drawn
                once, again = (self._round(module, autocast, number) for number in range(2))
                progress.rounds = 1 if once == again else math.ceil(LEAST / self.count)
            found = [self._round(module, autocast, number) for number in range(progress.rounds)]
        names = list(found[0])
        means = self.ranks.mean([math.fsum(each[name] for each in found) / len(found) for name in names])
        self.cost = time.perf_counter() - started
        return dict(zip(names, means, strict=True))

    def _round(self, module: Any, autocast: Autocast, number: int) -> dict[str, float]:
        """One pass over the held-out samples."""
        self.seed(first=number)
        with autocast():
            terms = module(self.batch).terms
        judged = {name: term for name, term in terms.items() if self.job.judged is None or name in self.job.judged}
        weights = {name: weight for name, weight in current(self.job.weights, 1.0).items() if name in judged}
        return read({"loss": weigh(judged, weights)} | {name: term.float().mean() for name, term in terms.items()})
