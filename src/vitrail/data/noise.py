"""Randomness that belongs to a sample: a pure function of (seed, sample, epoch), whatever batch it is drawn in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

# One family of streams per purpose, so that two purposes never see the same numbers.
ORDER, DEGRADE, GLYPHS, DEQUANTISE = 1, 2, 3, 4


def stream(seed: int, purpose: int, index: int = 0, epoch: int = 0) -> np.random.Generator:
    """One stream: Philox keyed by (seed, purpose), its counter starting at (index, epoch).

    The low 128 bits of the counter are left to the stream, so no two overlap.  Salmon et al. 2011.
    """
    key = np.array([seed, purpose], dtype=np.uint64)
    counter = np.array([0, 0, index, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def generators(
    seed: int, index: Tensor | Sequence[int], epoch: int | Tensor | Iterable[int]
) -> list[np.random.Generator]:
    """One generator per sample, for a degradation; `epoch` is one number for all or one per sample (or the step)."""
    numbers = [int(i) for i in index]
    epochs = [epoch] * len(numbers) if isinstance(epoch, int) else [int(e) for e in epoch]
    return [stream(seed, DEGRADE, i, e) for i, e in zip(numbers, epochs, strict=True)]


def permutation(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """The order of an epoch's samples."""
    return stream(seed, ORDER, epoch=epoch).permutation(count)


def bits(seed: int, index: npt.NDArray[np.int64], epoch: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """64 random bits per (seed, sample, epoch), all at once: three rounds of a mixing function.

    A generator per sample costs 15 us; augmentation needs a few bits only.
    """
    state = mix(np.full(len(index), seed, dtype=np.uint64))
    state = mix(state ^ index.astype(np.uint64))
    return mix(state ^ epoch.astype(np.uint64))


def mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One step of SplitMix64, a bijection of 64 bits.  Steele, Lea & Flood 2014."""
    x = x + np.uint64(0x9E3779B97F4A7C15)  # wraps around, as it should
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
