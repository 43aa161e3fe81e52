"""A source: where samples come from and what they are called, before any policy is applied to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # (H, W, C), C is 1 or 3
Labels = npt.NDArray[np.int64]  # (N,), -1 where unknown
Progress = Callable[[int, int], None]  # (done, total); total changes when the work enters another phase

HASHED_BYTES = 256 * 2**20  # arrays above this size are sampled for the fingerprint


class Read(Protocol):
    """Reads sample i. Raises DataError with the reason where it cannot be read; picklable, for reader processes.

    least: a side below which the picture may not be reduced; a reader that is faster at less detail may use it.
    """

    def __call__(self, i: int, least: int | None = None) -> Pixels: ...


@dataclass(frozen=True)
class Quarantined:
    """One thing set aside: where it is inside the source, and why, in one line."""

    path: str
    reason: str


@dataclass(frozen=True)
class Part:
    """The training or the test samples of a source, in their fixed order."""

    keys: tuple[str, ...]  # stable names, such as relative paths
    labels: Labels
    shapes: npt.NDArray[np.int64]  # (N, 3): H, W, C as the headers say, so that nothing need be decoded to know them
    read: Read
    stamp: str  # changes with the contents
    quarantine: tuple[Quarantined, ...] = ()
    captions: tuple[str, ...] = ()  # one a sample, "" for none; empty where they were not read

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, index: npt.NDArray[np.int64]) -> Part:
        """The samples at these positions."""
        return replace(
            self,
            keys=tuple(self.keys[i] for i in index),
            labels=self.labels[index],
            shapes=self.shapes[index],
            read=Picked(self.read, index),
            captions=tuple(self.captions[i] for i in index) if self.captions else (),
        )


@dataclass(frozen=True)
class Source:
    """All samples of one origin; `test` is None where the origin has no test part of its own."""

    name: str  # as the user wrote it
    train: Part
    test: Part | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picked:
    """Reads some samples of another reader, renumbered."""

    read: Read
    index: npt.NDArray[np.int64]

    def __call__(self, i: int, least: int | None = None) -> Pixels:
        return self.read(int(self.index[i]), least)


@dataclass(frozen=True)
class Joined:
    """Reads the samples of one reader, then those of another."""

    first: Read
    second: Read
    count: int  # of the first

    def __call__(self, i: int, least: int | None = None) -> Pixels:
        return self.first(i, least) if i < self.count else self.second(i - self.count, least)


@dataclass(frozen=True)
class Stored:
    """Reads samples that are already pixels."""

    pixels: Pixels = field(repr=False)  # (N, H, W, C)

    def __call__(self, i: int, least: int | None = None) -> Pixels:
        picture: Pixels = self.pixels[i]
        return picture


def stored(pixels: Pixels, labels: Labels | None = None, keys: Sequence[str] | None = None) -> Part:
    """A part whose pixels (N, H, W, C) are in memory; without keys a sample's name is its number."""
    count = len(pixels)
    return Part(
        keys=tuple(keys) if keys is not None else tuple(f"{i:08d}" for i in range(count)),
        labels=labels if labels is not None else unknown(count),
        shapes=same_shape(count, pixels.shape[1:]),
        read=Stored(pixels),
        stamp=stamp_of(pixels),
    )


def unknown(count: int) -> Labels:
    """Labels of samples without classes."""
    return np.full(count, -1, dtype=np.int64)


def same_shape(count: int, shape: Sequence[int]) -> npt.NDArray[np.int64]:
    """`Part.shapes` of samples that all have one shape (H, W, C)."""
    return np.broadcast_to(np.asarray(shape, dtype=np.int64), (count, 3))


def stamp_of(array: npt.NDArray[np.generic]) -> str:
    """A fingerprint of an array's contents; of evenly spaced samples where it is larger than HASHED_BYTES."""
    step = max(1, -(-array.nbytes // HASHED_BYTES))
    return digest(str((array.shape, array.dtype)), np.ascontiguousarray(array[::step]).data)


def digest(*items: str | bytes | memoryview) -> str:
    """32 hexadecimal digits that change with any of the items."""
    state = hashlib.blake2b(digest_size=16)
    for item in items:
        contents = item.encode() if isinstance(item, str) else item
        state.update(len(contents).to_bytes(8, "little"))
        state.update(contents)
    return state.hexdigest()


def silent(done: int, total: int) -> None:
    """The progress of callers who show none."""
