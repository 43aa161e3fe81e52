"""Gaussian noise of a random strength."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vitrail.data.degradations import Degradation
from vitrail.data.degradations._range import Range, drawn
from vitrail.types import Config as PartConfig


class Config(PartConfig):
    """Strength of the noise."""

    sigma: Range = Field((0.1, 0.3), description="standard deviation, drawn evenly from this range; values span 0 to 1")

    def build(self) -> Degradation:
        return partial(noisy, sigma=self.sigma)


def noisy(x: Tensor, rngs: Sequence[np.random.Generator], sigma: tuple[float, float]) -> Tensor:
    """x + sigma * noise, clamped to [0, 1]."""
    strength = drawn(sigma, x, rngs)
    noise = np.stack([rng.standard_normal(x.shape[1:], dtype=np.float32) for rng in rngs])
    return (x + strength * torch.from_numpy(noise).to(x)).clamp(0, 1)
