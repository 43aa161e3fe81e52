"""Noise that belongs to a sample: a pure function of the seed and the sample's number, on every machine and in every batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from vitrail.errors import UsageError


def generator(seed: int, number: int, stream: int = 0) -> np.random.Generator:
    """Random stream `stream` of sample `number`: Philox, a counter-based generator keyed by both.  Salmon et al. 2011.

    Streams start 2^192 blocks apart, so none runs into another.
    Raises UsageError on a seed or number outside [0, 2^63).
    """
    for name, value in (("a seed", seed), ("the number of a sample", number)):
        if not 0 <= value < 1 << 63:
            raise UsageError(f"{name} is a whole number between 0 and 2^63 - 1, got {value}")
    key, counter = np.array([seed, number], dtype=np.uint64), np.array([0, 0, 0, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def uniform(seed: int, numbers: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """(B, *shape) float64 in [0, 1), one row per sample number."""
    return torch.stack([torch.from_numpy(generator(seed, number).random(shape)) for number in numbers])


def normal(seed: int, numbers: Sequence[int], shape: tuple[int, ...], stream: int = 0) -> Tensor:
    """(B, *shape) float32 standard normal, one row per sample number."""
    rows = [generator(seed, number, stream).standard_normal(shape) for number in numbers]
    return torch.from_numpy(np.stack(rows)).float()


def steps(seed: int, numbers: Sequence[int], shape: tuple[int, ...]) -> Callable[[int], Tensor]:
    """What a stochastic solver draws: noise(i) is (B, *shape) float32 standard normal, independent of `normal` and of other i.

    Row b depends on seed, numbers[b] and i only. Stream 0 is left to the noise that a draw begins with.
    """
    return lambda i: normal(seed, numbers, shape, stream=i + 1)
