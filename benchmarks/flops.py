"""Floating-point operations of a training step: counted where torch dispatches them, by formula within the optimiser."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from vitrail.training.gradient import backward
from vitrail.training.job import StepModule
from vitrail.training.learner import Learner

NEWTON_SCHULZ = 5  # rounds, torch's default


def step_flops(pupil: Learner, batch: Any, weights: Mapping[str, float]) -> tuple[int, int]:
    """Of one whole step on a batch, and of these the optimiser's; the pupil stays as it is."""
    optimiser = muon_flops([matrix for _, matrix in pupil.optimiser.matrices])
    return pass_flops(pupil.module, batch, weights) + optimiser, optimiser


def pass_flops(module: StepModule, batch: Any, weights: Mapping[str, float]) -> int:
    """Of forward and backward on a batch."""
    trial = copy.deepcopy(module)
    with FlopCounterMode(display=False) as counter, torch.random.fork_rng():
        trial.at(0.0)
        backward(trial, batch, 1, weights, contextlib.nullcontext)
    return int(counter.get_total_flops())


def muon_flops(matrices: list[torch.Tensor]) -> int:
    """Of Muon's products, a step: for X (m, n) with m <= n each round takes X X', its square, and their sum times X."""
    sides = [sorted(matrix.shape) for matrix in matrices]
    return sum(NEWTON_SCHULZ * (4 * m * m * n + 2 * m * m * m) for m, n in sides)
