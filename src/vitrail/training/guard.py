"""When a loss or gradient is not finite: leave the step out, then go back and slow down, then give up."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace

from vitrail.errors import VitrailError
from vitrail.training.state import State

TOLERATED = 10  # refused steps in a row
ROLLBACKS = 3  # times a stage goes back to its last checkpoint

logger = logging.getLogger(__name__)


def acceptable(numbers: Mapping[str, float]) -> bool:
    """Whether a step may be made: its loss and every gradient are finite."""
    judged = [number for name, number in numbers.items() if name == "loss" or name.endswith("grad_norm")]
    return all(map(math.isfinite, judged))


def rolled_back(stage: str, state: State, saved: State) -> State:
    """The state to go on from at the last checkpoint: half the learning rate. Raises VitrailError after too many."""
    where = f"the {stage} stage has no finite loss at step {state.step}"
    if state.rollbacks == ROLLBACKS:
        raise VitrailError(
            f"{where}, also after {ROLLBACKS} returns to a checkpoint with the learning rate halved each time; "
            f"try a lower training.{stage}.lr or training.discriminator.lr, training.precision=fp32, "
            "or look for extreme values in the data"
        )
    scale = state.rate_scale / 2
    logger.warning("%s; back to step %d with %g times the learning rate", where, saved.step, scale)
    went_on = replace(saved, seconds=state.seconds, aside=state.aside)  # the clock is not turned back
    return replace(went_on, rate_scale=scale, rollbacks=state.rollbacks + 1)
