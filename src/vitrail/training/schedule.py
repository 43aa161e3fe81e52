"""The learning rate over a stage, as a pure function of how much of its budget is used."""

from __future__ import annotations

import math
from typing import Literal


def factor(progress: float, warmup: float, decay: Literal["cosine", "linear", "none"]) -> float:
    """Learning rate as a share of its peak: a linear rise over the `warmup` share, then the decay to 0 at the end."""
    if progress < warmup:
        return progress / warmup
    fallen = (progress - warmup) / (1 - warmup)
    if decay == "cosine":
        return (1 + math.cos(math.pi * fallen)) / 2
    return 1 - fallen if decay == "linear" else 1.0
