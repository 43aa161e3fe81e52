"""Floating-point operations of a training step, counted where torch dispatches them; in the optimiser those of Muon's products."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from vitrail.training.gradient import backward
from vitrail.training.job import StepModule
from vitrail.training.learner import Learner
from vitrail.training.muon import orthogonal


def step_flops(pupil: Learner, batch: Any, weights: Mapping[str, float], form: str = "bf16") -> tuple[int, int]:
    """Of one whole step on a batch, and of these the optimiser's; the pupil stays as it is.

    form: fp32 or bf16, in which Muon multiplies: it needs fewer products in fp32.
    """
    optimiser = muon_flops([tuple(matrix.shape) for _, matrix in pupil.optimiser.matrices], form)
    return pass_flops(pupil.module, batch, weights) + optimiser, optimiser


def pass_flops(module: StepModule, batch: Any, weights: Mapping[str, float]) -> int:
    """Of forward and backward on a batch."""
    trial = copy.deepcopy(module)
    with FlopCounterMode(display=False) as counter, torch.random.fork_rng():
        trial.at(0.0)
        backward(trial, batch, 1, weights, contextlib.nullcontext)
    return int(counter.get_total_flops())


def muon_flops(shapes: Sequence[tuple[int, ...]], form: str = "bf16") -> int:
    """Of Muon's products for matrices of these shapes, a step."""
    dtype = torch.float32 if form == "fp32" else torch.bfloat16
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        for shape in shapes:
            orthogonal(torch.empty(shape), dtype)
    return int(counter.get_total_flops())
