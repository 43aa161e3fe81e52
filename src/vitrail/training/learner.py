"""A module together with what learning adds to it: its optimiser's memory, its averaged weights, and perhaps a rival."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vitrail.model.recipe import Descent, Stage
from vitrail.training.averages import Averages
from vitrail.training.checkpoint import Parts
from vitrail.training.ema import Average
from vitrail.training.job import Rival, StepModule
from vitrail.training.optimiser import Optimiser
from vitrail.training.precision import place
from vitrail.training.schedule import factor
from vitrail.training.snapshot import own_tensors, put_back


@dataclass(frozen=True)
class Learner:
    """What a checkpoint saves and a step changes."""

    module: StepModule
    optimiser: Optimiser
    average: Average
    config: Descent
    norm: str = "grad_norm"  # the name of its gradient's length among the numbers of a step
    rival: Learner | None = None
    averages: Averages | None = None  # where the recipe asks for more than the one
    best: dict[str, Tensor] = field(default_factory=dict)  # of the averaged module, when its held-out loss was lowest

    def rate(self, used: float) -> float:
        """The learning rate where a share of the stage's budget is used."""
        return self.config.lr * factor(used, self.config.warmup, self.config.decay)

    def step(self, used: float, scale: float, numbers: Mapping[str, float], updates: int) -> None:
        """Move the weights along their gradient, at `scale` times the rate; `updates` steps were made before.

        A rival moves too, where it has a gradient.
        """
        norm = numbers[self.norm]
        self.optimiser.step(scale * self.rate(used), min(self.config.clip / norm, 1.0) if norm else 1.0)
        self.average.update(updates)
        if self.averages is not None:
            self.averages.update(updates)
        if self.rival is not None and self.rival.norm in numbers:
            self.rival.step(used, scale, numbers, updates)

    def clear(self) -> None:
        """Forget the gradients."""
        self.optimiser.clear()
        if self.rival is not None:
            self.rival.clear()

    def keep_best(self) -> None:
        """Remember the averaged weights as they are."""
        for name, tensor in own_tensors(self.average.module()).items():
            if name in self.best:
                self.best[name].copy_(tensor.detach())
            else:
                self.best[name] = tensor.detach().clone()

    def chosen(self) -> nn.Module:
        """The averaged module with the weights that were kept, or with its last ones where none were."""
        module = self.average.module()
        if self.best:
            put_back(own_tensors(module), self.best, "the best weights")
        return module

    def tensors(self) -> Parts:
        """Everything by part and name, detached."""
        module = {name: tensor.detach() for name, tensor in own_tensors(self.module).items()}
        own = {"module": module, "average": self.average.tensors(), "optimiser": self.optimiser.tensors()}
        if self.averages is not None:
            own["averages"] = self.averages.tensors()
        if self.best:
            own["best"] = self.best
        rival = {} if self.rival is None else self.rival.tensors()
        return own | {f"rival_{part}": tensors for part, tensors in rival.items()}

    def put_back(self, saved: Parts, what: str) -> None:
        """Take over what `tensors` gave. Raises ModelError if it belongs to another recipe."""
        put_back(own_tensors(self.module), saved["module"], what)
        put_back(self.average.tensors(), saved["average"], what)
        if self.averages is not None:
            put_back(self.averages.tensors(), saved.get("averages", {}), what)
        self.best.clear()
        if "best" in saved:
            self.keep_best()
            put_back(self.best, saved["best"], what)
        self.optimiser.load(saved["optimiser"], what)
        if self.rival is not None:
            self.rival.put_back(
                {part: saved.get(f"rival_{part}", {}) for part in ("module", "average", "optimiser")}, what
            )


def learner(module: StepModule, config: Stage, device: torch.device, rival: Rival | None = None) -> Learner:
    """A module made ready to learn, on its device, with its rival."""
    second = None
    if rival is not None:
        place(rival.module, device)
        kept = Average(rival.module, 0.0)
        second = Learner(rival.module.train(), Optimiser(rival.module, rival.config), kept, rival.config, length(rival))
    place(module, device)
    averages = Averages(module) if config.posthoc else None
    average = Average(module, config.ema)
    return Learner(module.train(), Optimiser(module, config), average, config, rival=second, averages=averages)


def length(rival: Rival) -> str:
    """The name of a rival's gradient's length among the numbers of a step."""
    return f"stats.{rival.name}_grad_norm"
