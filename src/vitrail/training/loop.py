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

from vitrail.errors import Interrupted
from vitrail.model.recipe import Stage, Training
from vitrail.model.weight import current
from vitrail.training import distributed, guard, memory, precision, stopping
from vitrail.training.averages import passed
from vitrail.training.budget import Budget
from vitrail.training.gradient import Autocast, backward, cut, onto, read, seed_part
from vitrail.training.job import Finished, Job
from vitrail.training.journal import Journal, Show
from vitrail.training.learner import Learner, learner
from vitrail.training.precision import Precision
from vitrail.training.state import State
from vitrail.training.store import Store
from vitrail.training.telling import Clock, Telling
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
        batches = _choose_precision(job, job.batches(state.step), training, ranks, state)
        autocast = open_until_end.enter_context(precision.applied(Precision(**state.precision), device))
        net, rival_net = _nets(job, training, ranks)
        clock = Clock(perf_counter(), state, config.batch)  # from here on the budget is spent
        validation = Validation(job, pupil.average, ranks, training.seed)
        if state.step == 0:
            _validate(job, validation, autocast, pupil, state)
        telling = Telling(job, pupil, training, folder, ranks, clock, journal, state.seconds)
        store.save(pupil, state)  # at step 0, so that there is always one to go back to
        first = ranks.rank * config.accumulate  # of this process's rounds among all that make up the batch
        seed = partial(seed_part, training.seed, first=first, device=device)

        while True:
            began = perf_counter()
            batch, used = onto(device, next(batches)), _used(budget, state, config)
            numbers = learn(job, net, rival_net, pupil, batch, used, autocast, partial(seed, step=state.step))

            # Seconds until the end, if it is now.
            ahead = MARGIN * (perf_counter() - began) + store.cost + telling.preview_cost + validation.cost
            wishes = [not guard.acceptable(numbers), stop.requested, clock.seconds(), ahead]
            refused, stopped, seconds, ahead = ranks.highest(wishes)
            _step(job, pupil, state, used, numbers, bool(refused))
            stepped = perf_counter()
            state.step, state.seconds = state.step + 1, seconds
            over = budget.progress(state.step, state.step * config.batch, seconds + ahead) == 1
            state.finished = over and not state.refused_in_row  # the last step proves that the weights are good
            looks = validation.wanted(state, over)
            if looks:
                _validate(job, validation, autocast, pupil, state)
            if state.updates and (passed(used, _used(budget, state, config)) or state.finished):
                store.keep(pupil, state)
            progress = 1.0 if state.finished else budget.progress(state.step, state.step * config.batch, seconds)
            telling.tell(state, used, progress, numbers["loss"], looks)
            state.aside += perf_counter() - stepped
            if not _saved(store, pupil, state, journal, bool(stopped)):
                state = guard.rolled_back(job.name, state, store.go_back(pupil, state))
                batches = job.batches(state.step)
                journal.start_from(state.step)
            if stopped:
                raise Interrupted(f"stopped at step {state.step} of the {job.name} stage; the same command resumes it")
            if state.finished:
                return _finished(pupil, state)


def _nets(job: Job, training: Training, ranks: distributed.Ranks) -> tuple[nn.Module, nn.Module | None]:
    """The module and its rival, compiled where the recipe asks for it, whose gradients are means over the processes."""
    if training.compile:
        precision.compiled(job.module)
    return ranks.average_gradients(job.module), ranks.average_gradients(job.rival.module) if job.rival else None


def _used(budget: Budget, state: State, config: Stage) -> float:
    """The share of the budget that is used in the middle of the next step."""
    middle = state.step + 0.5
    return budget.progress(middle, middle * config.batch, state.seconds)


def _step(job: Job, pupil: Learner, state: State, used: float, numbers: dict[str, float], refused: bool) -> None:
    """Move the weights, or leave the step out where it is refused; the gradients are forgotten."""
    if refused:
        state.refuse()
    else:
        pupil.step(used, state.rate_scale, numbers, state.updates)
        state.take(numbers)
    job.module.after_step()
    pupil.clear()


def _saved(store: Store, pupil: Learner, state: State, journal: Journal, stopped: bool) -> bool:
    """Write a checkpoint where one is due. Returns whether training may go on from the weights as they are."""
    if state.refused_in_row >= guard.TOLERATED:
        return False
    if not (state.finished or stopped or (store.due(state) and not state.refused_in_row)):
        return True
    journal.sync()
    sound = store.save(pupil, state)
    state.aside += store.cost
    return sound


def learn(
    job: Job,
    net: nn.Module,
    rival_net: nn.Module | None,
    pupil: Learner,
    batch: Any,
    used: float,
    autocast: Autocast,
    seed: Callable[..., None],
) -> dict[str, float]:
    """Give the module and its rival their gradients on a batch, and return the numbers of the step.

    used: share of the stage that is done. seed: called with `stage` and `part` of the batch before each round.
    """
    job.module.at(used)
    own, theirs = partial(seed, stage=job.name), partial(seed, stage=f"{job.name} rival")
    values = backward(net, batch, job.config.accumulate, current(job.weights, used), autocast, own)
    values["grad_norm"] = pupil.optimiser.gradient_norm()
    return read(values | _contested(job, rival_net, pupil, used, autocast, theirs))


def _contested(
    job: Job, net: nn.Module | None, pupil: Learner, used: float, autocast: Autocast, seed: Callable[..., None]
) -> dict[str, Tensor]:
    """Give the rival its gradient on what the step made. Returns its numbers; none where nothing was made for it."""
    contest = job.module.contest()
    if job.rival is None or net is None or pupil.rival is None or contest is None:
        return {}
    values = backward(net, contest, job.config.accumulate, current(job.rival.weights, used), autocast, seed)
    del values["loss"]  # the sum of its terms, beside which the log shows the codec's
    return values | {pupil.rival.norm: pupil.rival.optimiser.gradient_norm()}


def _validate(job: Job, validation: Validation, autocast: Autocast, pupil: Learner, state: State) -> None:
    """Look at the held-out samples, if any; keep the weights if they are the best so far, and end the stage if they get worse."""
    if not validation.count:
        return
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
    """Decide the stage's precision, where it is open, with its first batch, which is then handed out again."""
    if state.precision:
        return batches
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


def _finished(pupil: Learner, state: State) -> Finished:
    seen = state.validation
    heldout = (seen.first, seen.best if pupil.best else seen.losses.get("loss", math.nan))
    return Finished(
        state.step,
        state.seconds,
        state.last,
        pupil.chosen(),
        state.precision,
        state.refused,
        heldout,
        state.early,
        seen.best_step,
    )
