"""The held-out split: a property of each sample's name, so that adding samples moves none to the other part."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from vitrail.data.source import Joined, Part, Source, digest
from vitrail.errors import DataError


def position(key: str) -> float:
    """A number in [0, 1) that depends on the name alone and is spread evenly over names."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big") / 2**48


def positions(keys: Sequence[str]) -> npt.NDArray[np.float64]:
    return np.array([position(key) for key in keys], dtype=np.float64)


def split(source: Source, share: float) -> tuple[Part, Part]:
    """The training and the held-out part: the source's own, else by name. Raises DataError where one would be empty."""
    if source.test is not None:
        return source.train, source.test
    part, place = source.train, positions(source.train.keys)
    held = place < share
    if not held.any() or held.all():
        raise DataError(f"{source.name}: {_why_empty(place, share)}")
    faults = [(fault, position(fault.path) < share) for fault in part.quarantine]
    return (
        replace(part.take(np.flatnonzero(~held)), quarantine=tuple(fault for fault, out in faults if not out)),
        replace(part.take(np.flatnonzero(held)), quarantine=tuple(fault for fault, out in faults if out)),
    )


def _why_empty(place: npt.NDArray[np.float64], share: float) -> str:
    """What to set so that at least one sample is held out and one is not."""
    if len(place) < 2:
        return f"has {len(place)} sample; at least 2 are needed, one of them held out"
    none = not (place < share).any()
    wanted = (np.floor(place.min() * 1000) + 1) / 1000 if none else np.floor(place.max() * 1000) / 1000
    return (
        f"holding out {share:g} of {len(place)} samples leaves one part empty; "
        f"set data.heldout={wanted:g} or add a test/ folder"
    )


def whole(source: Source) -> Part:
    """Both parts of a source, one after the other; not split where the source has no test part."""
    if source.test is None:
        return source.train
    first, second = source.train, source.test
    return Part(
        keys=first.keys + second.keys,
        labels=np.concatenate([first.labels, second.labels]),
        shapes=np.concatenate([first.shapes, second.shapes]),
        read=Joined(first.read, second.read, len(first)),
        stamp=digest(first.stamp, second.stamp),
        quarantine=first.quarantine + second.quarantine,
        captions=first.captions + second.captions,
    )
