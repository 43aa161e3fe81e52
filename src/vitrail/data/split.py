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


def held_out(keys: Sequence[str], share: float) -> npt.NDArray[np.bool_]:
    """(N,) which names are held out: those whose position is below the share.

    Of two names or more at least one is held out and at least one is not: where the share leaves a part empty, the name whose
    position is nearest to it goes there. A share of 0 holds none out.
    """
    place = positions(keys)
    held = place < share
    if share and len(place) > 1 and held.all() == held.any():
        held[place.argmax() if held.all() else place.argmin()] ^= True
    return held


def split(source: Source, share: float) -> tuple[Part, Part]:
    """The training and the held-out part: the source's own, else by name; with a share of 0 the latter is empty.

    Raises DataError for a single sample, unless none is to be held out.
    """
    if source.test is not None:
        return source.train, source.test
    part = source.train
    if share and len(part) < 2:
        raise DataError(
            f"{source.name}: has {len(part)} sample; at least 2 are needed, one of them held out: add more, or train on "
            "this one alone with data.heldout=0"
        )
    held = held_out(part.keys, share)
    faults = [(fault, position(fault.path) < share) for fault in part.quarantine]
    return (
        replace(part.take(np.flatnonzero(~held)), quarantine=tuple(fault for fault, out in faults if not out)),
        replace(part.take(np.flatnonzero(held)), quarantine=tuple(fault for fault, out in faults if out)),
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
