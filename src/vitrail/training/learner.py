"""A module together with what learning adds to it: its optimiser's memory and its averaged weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vitrail.model.recipe import Stage
from vitrail.training.checkpoint import Parts
from vitrail.training.ema import Average
from vitrail.training.job import StepModule
from vitrail.training.optimiser import Optimiser
from vitrail.training.precision import place
from vitrail.training.snapshot import own_tensors, put_back


@dataclass(frozen=True)
class Learner:
    """What a checkpoint saves and a step changes."""

    module: StepModule
    optimiser: Optimiser
    average: Average

    def step(self, rate: float, norm: float, clip: float, updates: int) -> None:
        """Move the weights along a gradient of length `norm`, cut to `clip`; `updates` steps were made before."""
        self.optimiser.step(rate, min(clip / norm, 1.0) if norm else 1.0)
        self.average.update(updates)

    def tensors(self) -> Parts:
        """Everything by part and name, detached."""
        module = {name: tensor.detach() for name, tensor in own_tensors(self.module).items()}
        return {"module": module, "average": self.average.tensors(), "optimiser": self.optimiser.tensors()}

    def put_back(self, saved: Parts, what: str) -> None:
        """Take over what `tensors` gave. Raises ModelError if it belongs to another recipe."""
        put_back(own_tensors(self.module), saved["module"], what)
        put_back(self.average.tensors(), saved["average"], what)
        self.optimiser.load(saved["optimiser"], what)


def learner(module: StepModule, config: Stage, device: torch.device) -> Learner:
    """A module made ready to learn, on its device."""
    place(module, device)
    return Learner(module.train(), Optimiser(module, config), Average(module, config.ema))
