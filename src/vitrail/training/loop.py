"""The training loop: one for every stage, from its newest checkpoint to the end of its budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import Tensor, nn

from vitrail import durable
from vitrail.errors import Interrupted
from vitrail.model.recipe import Training
from vitrail.model.weight import current, moving
from vitrail.training import distributed, guard, memory, precision, stopping
from vitrail.training.averages import passed
from vitrail.training.gradient import Autocast, backward, cut, onto, read, seed_part
from vitrail.training.job import Finished, Job
from vitrail.training.journal import Journal, Moment, Show
from vitrail.training.learner import Learner, learner
from vitrail.training.precision import Precision
from vitrail.training.state import State
from vitrail.training.store import Store
from vitrail.training.validation import Validation

MARGIN = 1.25  # a wall-clock stage ends when this many times its last step would no longer fit


def run(job: Job, folder: Path, training: Training, show: Show | None = None) -> Finished:
    """Train one stage in a run folder. Called again, it goes on from the newest checkpoint, or returns at once.

    What a step draws depends only on (seed, stage, step, process), so a resumed stage repeats the undisturbed one.
    Raises Interrupted after a stop signal or on a full disk, VitrailError if the loss stays not finite,
    ModelError if the checkpoint belongs to another recipe, UsageError if a weight names no term.
    """
    ranks = distributed.current()
    memory.keep_freed()
    config, device, budget = job.config, ranks.device, job.budget.resolved(job.samples)
    pupil = learner(job.module, config, device, job.rival)
    store = Store(folder / "checkpoints", job.name, training, ranks)
    state = store.restore(pupil) or State()
    if state.finished:
        return _finished(pupil, state)
    with ExitStack() as open_until_end:
        stop = open_until_end.enter_context(stopping.watched())
        journal = open_until_end.enter_context(Journal(folder, job.name, state.step, ranks.first, show))
        batches = job.batches(state.step)
        if not state.precision:
            batches = _choose_precision(job, batches, training, ranks, state)
        autocast = open_until_end.enter_context(precision.applied(Precision(**state.precision), device))
        if training.compile:
            precision.compiled(job.module)
        net = ranks.average_gradients(job.module)
        rival_net = ranks.average_gradients(job.rival.module) if job.rival else None
        clock = Clock(perf_counter(), state, config.batch)  # from here on the budget is spent
        validation = Validation(job, pupil.average, ranks, training.seed)
        if state.step == 0 and validation.batches:
            _validate(job, validation, autocast, pupil, state)
        store.save(pupil, state)  # at step 0, so that there is always one to go back to
        previewed, preview_cost = state.seconds, 0.0

        while True:
            began = perf_counter()
            batch = onto(device, next(batches))
            first = ranks.rank * config.accumulate  # of this process's rounds among all that make up the batch
            seed = partial(seed_part, training.seed, job.name, state.step, first, device)
            used = budget.progress(state.step + 0.5, (state.step + 0.5) * config.batch, state.seconds)
            job.module.at(used)
            values = backward(net, batch, config.accumulate, current(job.weights, used), autocast, seed)
            values["grad_norm"] = pupil.optimiser.gradient_norm()
            seed = partial(seed_part, training.seed, f"{job.name} rival", state.step, first, device)
            numbers = read(values | _contested(job, rival_net, pupil, used, autocast, seed))

            # Seconds until the end, if it is now.
            ahead = MARGIN * (perf_counter() - began) + store.cost + preview_cost + validation.cost
            wishes = [not guard.acceptable(numbers), stop.requested, clock.seconds(), ahead]
            refused, stopped, seconds, ahead = ranks.highest(wishes)
            if refused:
                state.refuse()
            else:
                pupil.step(used, state.rate_scale, numbers, state.updates)
                state.take(numbers)
            job.module.after_step()
            pupil.clear()
            state.step, state.seconds = state.step + 1, seconds
            over = budget.progress(state.step, state.step * config.batch, seconds + ahead) == 1
            state.finished = over and not state.refused_in_row  # the last step proves that the weights are good
            looks = (
                validation.batches
                and not state.refused_in_row
                and (over or validation.due(state.step, state.validation))
            )
            if looks:
                _validate(job, validation, autocast, pupil, state)

            following = budget.progress(state.step + 0.5, (state.step + 0.5) * config.batch, state.seconds)
            if state.updates and (passed(used, following) or state.finished):
                store.keep(pupil, state)
            if state.step % training.log == 0 or state.finished or looks:
                rate = state.rate_scale * pupil.rate(used)
                _log(
                    job, state, clock, journal, state.means(ranks), used, rate, listened=ranks.first, looks=bool(looks)
                )
            if journal.due(seconds) or state.finished:
                progress = 1.0 if state.finished else budget.progress(state.step, state.step * config.batch, seconds)
                journal.beat(clock.moment(job.name, state, progress, numbers["loss"]), seconds)
            if job.preview and (state.finished or seconds - previewed >= training.preview):
                ranks.first_does(partial(_preview, job, pupil, state, folder))
                previewed, preview_cost = seconds, clock.seconds() - seconds
            sound = state.refused_in_row < guard.TOLERATED
            if sound and (state.finished or stopped or (store.due(state) and not state.refused_in_row)):
                journal.sync()
                sound = store.save(pupil, state)
            if not sound:
                state = guard.rolled_back(job.name, state, store.go_back(pupil, state))
                batches = job.batches(state.step)
                journal.start_from(state.step)
            if stopped:
                raise Interrupted(f"stopped at step {state.step} of the {job.name} stage; the same command resumes it")
            if state.finished:
                return _finished(pupil, state)


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
        time = {"seconds": round(state.seconds, 3), "images_per_second": round(max(steps, 0) * self.batch / passed, 1)}
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


def _log(
    job: Job,
    state: State,
    clock: Clock,
    journal: Journal,
    means: dict[str, float],
    used: float,
    rate: float,
    listened: bool,
    looks: bool,
) -> None:
    """Write a line of the log: means since the last one, what the module observed, weights that move, the held-out loss."""
    observed = {f"stats.{name}": value for name, value in job.module.observed().items()}
    observed |= {f"weights.{name}": value for name, value in moving(job.weights, used).items()}
    state.last = clock.line(job.name, state, means | observed, rate)
    if looks:
        state.last["heldout"] = state.validation.losses
    journal.write(state.last, job.module.histograms)
    if job.listen and listened:
        job.listen(state.last)


def _contested(
    job: Job, net: nn.Module | None, pupil: Learner, used: float, autocast: Autocast, seed: Callable[[int], None]
) -> dict[str, Tensor]:
    """Give the rival its gradient on what the step made. Returns its numbers; none where nothing was made for it."""
    contest = job.module.contest()
    if job.rival is None or net is None or pupil.rival is None or contest is None:
        return {}
    values = backward(net, contest, job.config.accumulate, current(job.rival.weights, used), autocast, seed)
    del values["loss"]  # the sum of its terms, beside which the log shows the codec's
    return values | {pupil.rival.norm: pupil.rival.optimiser.gradient_norm()}


def _validate(job: Job, validation: Validation, autocast: Autocast, pupil: Learner, state: State) -> None:
    """Look at the held-out samples; keep the weights if they are the best so far, and end the stage if they get worse."""
    better = state.validation.see(validation.look(state.validation, autocast), state.step)
    if not job.select:
        return
    if better:
        pupil.keep_best()
    if state.validation.stalled(state.step) and not state.finished:
        state.early = state.finished = True


def _choose_precision(
    job: Job, batches: Iterator[Any], training: Training, ranks: distributed.Ranks, state: State
) -> Iterator[Any]:
    """Decide the stage's precision with its first batch, which is then handed out again."""
    first, budget = next(batches), job.budget.resolved(job.samples)
    part, _, _ = next(cut(first, job.config.accumulate))
    choice = precision.choose(
        job.module,
        onto(ranks.device, part),
        current(job.weights, 0.0),
        training,
        ranks,
        lambda step: precision.SHARE * budget.seconds(step, job.config.batch),
    )
    state.precision = choice.printed()
    return chain([first], batches)


def _preview(job: Job, pupil: Learner, state: State, folder: Path) -> None:
    """Show the averaged module, at the end with the weights that are kept, to the recipe's preview.

    A full disk counts as an interruption.
    """
    assert job.preview
    with durable.storing(folder / "samples"), pupil.average.used() as module:
        if state.finished:
            pupil.chosen()  # puts them into this module
        job.preview(module, state.step)


def _finished(pupil: Learner, state: State) -> Finished:
    seen = state.validation
    heldout = (seen.first, seen.best if pupil.best else seen.losses.get("loss", math.nan))
    return Finished(
        state.step, state.seconds, state.last, pupil.chosen(), state.precision, state.refused, heldout, state.early
    )
