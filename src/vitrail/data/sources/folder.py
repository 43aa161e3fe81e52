"""A folder of pictures, at any depth; its top-level subfolders are the classes, or its parts where they are so named.

`train/` beside `test/` (or `val/`, `valid/`, `validation/`) are parts, and the subfolders of each are the classes.
Files that do not bear the name of a picture, and hidden ones, are no part of it, but for captions (data/captions.py).
Run folders inside it, and folders of sweeps, are passed over: what a model drew is never data.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from vitrail import processor
from vitrail.data import captions, made
from vitrail.data.config import DataConfig
from vitrail.data.modalities.image import SUFFIXES, Header, decode, header
from vitrail.data.source import Labels, Part, Pixels, Progress, Quarantined, Source, digest, silent
from vitrail.data.sources import idx
from vitrail.errors import DataError

NAMES: tuple[str, ...] = ()
TRAIN = "train"
TEST = ("test", "val", "valid", "validation")
TICK = 64  # headers between two reports of progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """Reads the pictures of a folder by position."""

    root: Path
    keys: tuple[str, ...]
    max_pixels: int

    def __call__(self, i: int, least: int | None = None) -> Pixels:
        return decode(self.root / self.keys[i], self.max_pixels, least)


def accepts(text: str) -> bool:
    path = Path(text)
    return (path.is_dir() and not idx.accepts(text)) or (path.is_file() and path.suffix.lower() in SUFFIXES)


def open(text: str, config: DataConfig, progress: Progress = silent) -> Source:
    """The pictures of a folder, or one picture, in order of their paths. Raises DataError where there is none.

    Headers are read and checked here, pixels later.
    """
    root = Path(text)
    if root.is_file():
        return Source(text, _part(root.parent, "", [root.name], (), config, progress))
    if kind := made.never_data(root):
        raise DataError(f"{text}: {kind}, which is never data; name the folder of your pictures, or one inside it")
    keys, faults = listed(root)
    if not keys:
        raise DataError(f"{text}: no picture in this folder; looked for {' '.join(sorted(SUFFIXES))}")
    prefixes = part_prefixes(keys)
    groups = {prefix: [key for key in keys if key.startswith(prefix)] for prefix in prefixes}
    classes = class_names(key.removeprefix(prefix) for prefix, group in groups.items() for key in group)
    train, *test = (_part(root, prefix, group, classes, config, progress) for prefix, group in groups.items())
    train = replace(train, quarantine=(*train.quarantine, *faults))
    return Source(text, train, test[0] if test else None, classes)


def listed(root: Path) -> tuple[list[str], list[Quarantined]]:
    """Paths inside the folder, sorted, of what is named like a picture; and the folders that cannot be entered.

    Folders that vitrail made are passed over and told.
    """
    keys: list[str] = []
    faults: list[Quarantined] = []
    pending: list[tuple[Path, tuple[str, ...]]] = [(root, (os.path.realpath(root),))]
    while pending:
        folder, above = pending.pop()
        try:
            paths = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
        except OSError as error:
            faults.append(Quarantined(_key(root, folder), error.strerror or str(error)))
            continue
        for path in paths:
            if not path.is_dir():
                keys += [_key(root, path)] if path.suffix.lower() in SUFFIXES else []
            elif (real := os.path.realpath(path)) in above:
                faults.append(Quarantined(_key(root, path), "symbolic link that leads back to a folder above it"))
            elif kind := made.never_data(path):
                _tell(str(path), kind)
            else:
                pending.append((path, (*above, real)))
    return sorted(keys), faults


@cache
def _tell(path: str, kind: str) -> None:
    """Say that a folder is passed over, once in a process: a source is opened several times in a command."""
    logger.info("%s is %s and no data: its pictures are left out", path, kind)


def part_prefixes(keys: Sequence[str]) -> tuple[str, ...]:
    """("train/", "test/") where the folder has such parts, ("train/",) where that is all there is, else ("",)."""
    tops = {top for key in keys if (top := key.rpartition("/")[0].partition("/")[0])}
    test = next((name for name in TEST if name in tops), None)
    if TRAIN in tops and test:
        return f"{TRAIN}/", f"{test}/"
    return (f"{TRAIN}/",) if tops == {TRAIN} and not any("/" not in key for key in keys) else ("",)


def class_names(keys: Iterable[str]) -> tuple[str, ...]:
    """Top-level folders, sorted; none where there are fewer than two, which would tell nothing apart."""
    names = {key.partition("/")[0] for key in keys if "/" in key}
    return tuple(sorted(names)) if len(names) > 1 else ()


def _part(
    root: Path, prefix: str, keys: Sequence[str], classes: tuple[str, ...], config: DataConfig, progress: Progress
) -> Part:
    """The pictures of one part whose headers are sound, and the others with their reason."""
    scanned = list(_scanned([root / key for key in keys], config.max_pixels, progress))
    faults = tuple(Quarantined(key, found) for key, found in zip(keys, scanned, strict=True) if isinstance(found, str))
    sound = [(key, found) for key, found in zip(keys, scanned, strict=True) if not isinstance(found, str)]
    if not sound:
        first = f"{faults[0].path}: {faults[0].reason}"
        raise DataError(f"{root / prefix}: none of {len(keys)} pictures can be read; the first: {first}")
    kept = tuple(key for key, _ in sound)
    return Part(
        keys=kept,
        labels=_labels([key.removeprefix(prefix) for key in kept], classes),
        shapes=np.array([(head.height, head.width, head.channels) for _, (head, _) in sound], dtype=np.int64),
        read=Files(root, kept, config.max_pixels),
        stamp=digest(str([size for _, (_, size) in sound])),
        quarantine=faults,
        captions=captions.beside(root, kept) if config.captions else (),
    )


def _labels(keys: Sequence[str], classes: tuple[str, ...]) -> Labels:
    number = {name: label for label, name in enumerate(classes)}
    return np.array([number.get(key.partition("/")[0] if "/" in key else "", -1) for key in keys], dtype=np.int64)


def _scanned(paths: Sequence[Path], max_pixels: int, progress: Progress) -> Iterator[tuple[Header, int] | str]:
    """Header and file size of each picture, or what is wrong with it, in order."""

    def scan(path: Path) -> tuple[Header, int] | str:
        try:
            return header(path, max_pixels), path.stat().st_size
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(processor.cores()) as pool:
        for done, found in enumerate(pool.map(scan, paths), start=1):
            if done % TICK == 0 or done == len(paths):
                progress(done, len(paths))
            yield found


def _key(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
