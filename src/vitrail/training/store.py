"""When a stage is saved and what it resumes from, the same on every process."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from vitrail.model.recipe import Training
from vitrail.training import averages, checkpoint
from vitrail.training.distributed import Ranks
from vitrail.training.learner import Learner
from vitrail.training.snapshot import finite
from vitrail.training.state import State


class Store:
    """The checkpoints of one stage of one run."""

    def __init__(self, folder: Path, stage: str, training: Training, ranks: Ranks) -> None:
        self.folder, self.stage, self.ranks = folder, stage, ranks
        self.averages = folder.parent / "averages"
        self.every_seconds, self.every_steps = training.checkpoint, training.checkpoint_steps
        self.saved_step, self.saved_at = -1, 0.0
        self.cost = 0.0  # seconds that the last save took
        ranks.first_does(partial(checkpoint.prepare, folder, stage))

    def restore(self, learner: Learner) -> State | None:
        """Put the newest checkpoint into the learner; None if there is none. Raises ModelError if it does not fit."""
        saved = checkpoint.newest(self.folder, self.stage)
        state = State() if saved is None else State(**saved.state)
        self.ranks.first_does(partial(averages.forget, self.averages, self.stage, state.updates))
        if saved is None:
            return None
        learner.put_back(saved.parts, str(saved.path))
        self.saved_step, self.saved_at = state.step, state.seconds
        return state

    def go_back(self, learner: Learner, state: State) -> State:
        """`restore` after steps that failed. A checkpoint after which none succeeded is dropped for an earlier one."""
        useless = state.refused_in_row >= state.step - self.saved_step
        self.ranks.first_does(partial(checkpoint.drop_newest, self.folder, self.stage) if useless else lambda: None)
        return self.restore(learner) or State(precision=state.precision)

    def due(self, state: State) -> bool:
        """Whether it is time for a checkpoint."""
        if self.every_steps:
            return state.step % self.every_steps == 0
        return state.seconds - self.saved_at >= self.every_seconds

    def keep(self, learner: Learner, state: State) -> None:
        """Write a snapshot of the learner's power-law averages, if it has some. Raises Interrupted on a full disk."""
        if learner.averages is not None:
            write = partial(averages.write, self.averages, self.stage, state.updates, learner.averages)
            self.ranks.first_does(write)

    def save(self, learner: Learner, state: State) -> bool:
        """Write a checkpoint; none, and False, if a weight is not finite. Raises Interrupted on a full disk."""
        if state.step == self.saved_step:
            return True
        started = time.perf_counter()
        parts = learner.tensors()
        [spoilt] = self.ranks.highest([not all(finite(tensors) for tensors in parts.values())])
        if spoilt:
            return False
        state.share(self.ranks)
        write = partial(checkpoint.write, self.folder, self.stage, state.step, state.printed(), parts)
        self.ranks.first_does(write)
        self.saved_step, self.saved_at = state.step, state.seconds
        self.cost = time.perf_counter() - started
        return True
