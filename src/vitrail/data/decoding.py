"""Decoding many pictures at once into one array of uint8."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vitrail import processor
from vitrail.data.resize import Fit, conform
from vitrail.data.source import Part, Pixels, Progress, Quarantined, Read, silent
from vitrail.errors import DataError

CHUNK = 64  # pictures per task of a thread


@dataclass(frozen=True)
class Conformed:
    """Reads samples as (C, H, W) of one shape."""

    read: Read
    shape: tuple[int, int, int]
    fit: Fit

    def __call__(self, i: int) -> Pixels:
        return conform(self.read(i, least=2 * max(self.shape[1:])), self.shape, self.fit)


@dataclass(frozen=True)
class Decoded:
    """What came of a part: pixels (N, C, H, W) of the readable samples, their positions, and the others' reasons."""

    pixels: Pixels
    kept: npt.NDArray[np.int64]
    faults: tuple[Quarantined, ...]


def decode_all(part: Part, read: Conformed, strict: bool, progress: Progress = silent) -> Decoded:
    """Every sample of a part, by threads (decoders let go of the interpreter), in the part's order whatever fails.

    Raises DataError where there are samples and none is readable, or at the first fault if `strict`.
    """
    pixels = np.empty((len(part), *read.shape), dtype=np.uint8)
    reasons: dict[int, str] = {}
    for done, found in enumerate(_in_threads(part, read, pixels), start=1):
        reasons.update(found)
        if strict and reasons:
            first = min(reasons)
            raise DataError(f"{part.keys[first]}: {reasons[first]} (data.strict is set)")
        progress(min(done * CHUNK, len(part)), len(part))
    kept = np.array([i for i in range(len(part)) if i not in reasons], dtype=np.int64)
    if len(part) and not len(kept):
        raise DataError(f"none of {len(part)} pictures can be read; the first: {part.keys[0]}: {reasons[0]}")
    faults = tuple(Quarantined(part.keys[i], reasons[i]) for i in sorted(reasons))
    return Decoded(pixels[kept] if faults else pixels, kept, faults)


def _in_threads(part: Part, read: Conformed, pixels: Pixels) -> Iterator[dict[int, str]]:
    """Fills `pixels` chunk by chunk; yields each chunk's faults in order."""

    def fill(start: int) -> dict[int, str]:
        reasons = {}
        for i in range(start, min(start + CHUNK, len(part))):
            try:
                pixels[i] = read(i)
            except DataError as error:
                reasons[i] = str(error)
        return reasons

    with ThreadPoolExecutor(processor.cores()) as pool:
        try:
            yield from pool.map(fill, range(0, len(part), CHUNK))
        finally:
            pool.shutdown(cancel_futures=True)
