"""What a stage tells while it trains: lines of the log, moments for those who watch, previews, a word on other programs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from vitrail import durable
from vitrail.model.recipe import Training
from vitrail.model.weight import moving
from vitrail.training.crowding import Crowding
from vitrail.training.distributed import Ranks
from vitrail.training.job import Job
from vitrail.training.journal import Journal, Moment
from vitrail.training.learner import Learner
from vitrail.training.state import State


class Telling:
    """Tells of one stage under way."""

    def __init__(
        self,
        job: Job,
        pupil: Learner,
        training: Training,
        folder: Path,
        ranks: Ranks,
        clock: Clock,
        journal: Journal,
        seconds: float,
    ) -> None:
        self.job, self.pupil, self.training, self.folder = job, pupil, training, folder
        self.ranks, self.clock, self.journal = ranks, clock, journal
        self.crowding = Crowding(job.name, torch.get_num_threads())
        self.previewed, self.preview_cost = seconds, 0.0

    def tell(self, state: State, used: float, progress: float, loss: float, looks: bool) -> None:
        """Say after a step what is due by then.

        used, progress: shares of the stage before and after the step. looks: held-out samples were looked at.
        """
        seconds = state.seconds
        if state.step % self.training.log == 0 or state.finished or looks:
            self._log(state, used, looks)
        if self.ranks.first:
            self.crowding.look(seconds)
        if self.journal.due(seconds) or state.finished:
            self.journal.beat(self.clock.moment(self.job.name, state, progress, loss), seconds)
        if self.job.preview and (state.finished or seconds - self.previewed >= self.training.preview):
            self.ranks.first_does(partial(self._preview, state))
            self.previewed, self.preview_cost = seconds, self.clock.seconds() - seconds

    def _log(self, state: State, used: float, looks: bool) -> None:
        """Write a line: means since the last one, what the module observed, weights that move, the held-out loss."""
        job, means = self.job, state.means(self.ranks)
        observed = {f"stats.{name}": value for name, value in job.module.observed().items()}
        observed |= {f"weights.{name}": value for name, value in moving(job.weights, used).items()}
        state.last = self.clock.line(job.name, state, means | observed, state.rate_scale * self.pupil.rate(used))
        if looks:
            state.last["heldout"] = state.validation.losses
        self.journal.write(state.last, job.module.histograms)
        if job.listen and self.ranks.first:
            job.listen(state.last)

    def _preview(self, state: State) -> None:
        """Show the averaged module, at the end with the weights that are kept, to the recipe's preview.

        A full disk counts as an interruption.
        """
        assert self.job.preview
        with durable.storing(self.folder / "samples"), self.pupil.average.used() as module:
            if state.finished:
                self.pupil.chosen()  # puts them into this module
            self.job.preview(module, state.step)


class Clock:
    """Time spent in a stage over all resumes, and the speeds derived from it."""

    def __init__(self, started: float, state: State, batch: int) -> None:
        self.zero, self.batch = started - state.seconds, batch
        self.first_step, self.first_seconds = state.step, self.seconds()
        self.line_step, self.line_seconds = self.first_step, self.first_seconds

    def seconds(self) -> float:
        """Seconds spent so far."""
        return perf_counter() - self.zero

    def moment(self, stage: str, state: State, progress: float, loss: float) -> Moment:
        """Where the stage is, with the speed since it was started or resumed."""
        passed = max(state.seconds - self.first_seconds, 1e-9)
        rate = max(state.step - self.first_step, 0) * self.batch / passed
        eta = state.seconds * (1 - progress) / progress if progress else float("nan")
        return Moment(stage, state.step, progress, loss, rate, eta)

    def line(self, stage: str, state: State, means: dict[str, float], rate: float) -> dict[str, Any]:
        """A line of the log; `means` are those since the line before it."""
        steps, passed = state.step - self.line_step, max(state.seconds - self.line_seconds, 1e-9)
        self.line_step, self.line_seconds = state.step, state.seconds
        grouped = {
            group: {name.partition(".")[2]: value for name, value in means.items() if name.startswith(f"{group}.")}
            for group in ("terms", "stats", "weights")
        }
        time = {
            "seconds": round(state.seconds, 3),
            "aside": round(state.aside, 3),
            "images_per_second": round(max(steps, 0) * self.batch / passed, 1),
        }
        return {
            "stage": stage,
            "step": state.step,
            "images": state.step * self.batch,
            "loss": means.get("loss"),
            **grouped,
            "lr": rate,
            "grad_norm": means.get("grad_norm"),
            "refused": state.refused,
            "time": time,
        }
