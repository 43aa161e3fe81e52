"""Budgets: how long a stage trains, in steps, epochs, images or seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from vitrail.errors import UsageError
from vitrail.model.recipe import BUDGET

Unit = Literal["steps", "epochs", "images", "seconds"]
UNITS: dict[str, tuple[Unit, int]] = {
    "step": ("steps", 1),
    "epoch": ("epochs", 1),
    "image": ("images", 1),
    "s": ("seconds", 1),
    "sec": ("seconds", 1),
    "min": ("seconds", 60),
    "h": ("seconds", 3600),
}
MULTIPLES = {None: 1, "k": 1_000, "M": 1_000_000}


@dataclass(frozen=True)
class Budget:
    """What a stage may use. Seconds are those spent in training, over all resumes."""

    amount: float
    unit: Unit

    def resolved(self, samples: int) -> Budget:
        """The same without epochs: these become images of a training set of that size."""
        return Budget(self.amount * samples, "images") if self.unit == "epochs" else self

    def progress(self, step: float, images: float, seconds: float) -> float:
        """The share that is used up, 0 to 1."""
        used = {"steps": step, "images": images, "seconds": seconds}[self.unit]
        return min(used / self.amount, 1.0)

    def seconds(self, step: float, batch: int) -> float:
        """How long it takes, where a step of so many images takes `step` seconds."""
        steps = {"steps": self.amount, "images": self.amount / batch, "epochs": math.inf, "seconds": self.amount / step}
        return steps[self.unit] * step


def read(text: str) -> Budget:
    """'20000 steps', '10 epochs', '2M images', '90s', '6min' or '2h'. Raises UsageError."""
    match = BUDGET.match(text)
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    if match is None or number <= 0:
        raise UsageError(f"'{text}' is no budget; write '20000 steps', '10 epochs', '2M images', '90s', '6min' or '2h'")
    unit, factor = UNITS[match[3] if match[3] == "s" else match[3].removesuffix("s")]
    return Budget(number * MULTIPLES[match[2]] * factor, unit)


def split(budget: Budget, share: float) -> tuple[Budget, Budget]:
    """Budgets of the first stage, which gets `share`, and of the second; in steps, each gets at least one."""
    first, second = budget.amount * share, budget.amount * (1 - share)
    if budget.unit == "steps":
        first = max(round(first), 1)
        second = max(budget.amount - first, 1)
    return replace(budget, amount=first), replace(budget, amount=second)
