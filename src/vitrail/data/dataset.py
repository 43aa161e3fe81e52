"""A data set: the samples of one part of a source, of one shape, in a fixed order, the unreadable ones set aside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.data import captions
from vitrail.data.augmentation import judged
from vitrail.data.config import DataConfig
from vitrail.data.decoding import Conformed, decode_all
from vitrail.data.source import Part, Pixels, Progress, Quarantined, Source, digest, silent
from vitrail.data.split import split, whole
from vitrail.errors import DataError
from vitrail.types import DataSpec

Which = Literal["train", "heldout", "all"]
Shape = tuple[int, int, int]  # (C, H, W)

SOURCES = "data/sources"
LARGEST_OWN = 256  # pixels; pictures that share one size up to this side are taken as they are
LARGEST_CHOSEN = 128  # pixels; side chosen for other pictures where the user gave none
GIB = 2**30


class Dataset:
    """Samples by position. In memory as uint8, or read as needed where they do not fit.

    spec: shape (C, H, W) and class names. labels: (N,) int64, -1 where unknown. keys: stable names of the samples.
    fingerprint: changes with the samples, their labels, order or shape.
    binarise: samples are given in black and white, each always alike. tokens: bytes of the captions that `text` gives.
    """

    def __init__(
        self,
        part: Part,
        spec: DataSpec,
        read: Conformed,
        pixels: Tensor | None = None,
        binarise: bool = False,
        tokens: int = 0,
    ) -> None:
        self.spec, self.binarise, self.tokens = spec, binarise, tokens
        self.keys, self.captions = part.keys, part.captions
        self.labels = torch.from_numpy(np.array(part.labels, dtype=np.int64))
        self.pixels = pixels  # (N, C, H, W) uint8, or None where samples are read as needed
        form = (read.shape, read.fit, *(["binarise"] if binarise else []), *([tokens, part.captions] if tokens else []))
        self.fingerprint = digest(part.stamp, "\n".join(part.keys), part.labels.tobytes(), str(form))
        self._read = read
        self._quarantine = {fault.path: fault for fault in part.quarantine}

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def quarantine(self) -> tuple[Quarantined, ...]:
        """What was set aside so far, in order of path; grows while a set is read as needed."""
        return tuple(self._quarantine[path] for path in sorted(self._quarantine))

    @property
    def uncaptioned(self) -> int:
        """How many samples have no caption, where captions are read."""
        return sum(not text.strip() for text in self.captions)

    def text(self, index: Tensor) -> Tensor | None:
        """(B, T) tokens of the captions, None where they are not read."""
        return captions.tokens([self.captions[i] for i in index.tolist()], self.tokens) if self.tokens else None

    def set_aside(self, faults: Iterable[Quarantined]) -> None:
        """Add to the quarantine what a reader process found."""
        self._quarantine.update((fault.path, fault) for fault in faults)

    def images(self, index: Tensor | Sequence[int] | npt.NDArray[np.int64]) -> Tensor:
        """(B, C, H, W) uint8. Raises DataError on a sample that cannot be read."""
        positions = np.asarray(index, dtype=np.int64)
        if self.pixels is not None:
            found = self.pixels.numpy()[positions]
        else:
            read = [self._named_picture(int(i)) for i in positions]
            found = np.array(read, dtype=np.uint8).reshape(-1, *self.spec.shape)  # also of none
        return torch.from_numpy(judged(found, positions) if self.binarise else found)

    def readable(self, index: npt.NDArray[np.int64]) -> tuple[Pixels, npt.NDArray[np.int64]]:
        """(B, C, H, W) and the positions they are of: an unreadable sample is set aside and the next one stands in."""
        pixels, index = self.grey(index)
        return judged(pixels, index) if self.binarise else pixels, index

    def grey(self, index: npt.NDArray[np.int64]) -> tuple[Pixels, npt.NDArray[np.int64]]:
        """`readable` before values become black or white."""
        if self.pixels is not None:
            return self.pixels.numpy()[index], index
        found = [self._nearest_readable(int(i)) for i in index]
        return np.stack([picture for picture, _ in found]), np.array([i for _, i in found], dtype=np.int64)

    def _nearest_readable(self, start: int) -> tuple[Pixels, int]:
        for i in (np.arange(start, start + len(self)) % len(self)).tolist():
            try:
                return self._read(i), i
            except DataError as error:
                self.set_aside([Quarantined(self.keys[i], str(error))])
        raise DataError(f"none of the {len(self)} samples can be read any more")

    def _named_picture(self, i: int) -> Pixels:
        try:
            return self._read(i)
        except DataError as error:
            raise DataError(f"{self.keys[i]}: {error}") from None


def open_source(text: str, config: DataConfig, progress: Progress = silent) -> Source:
    """The source that a text names: of the one kind that accepts it. Raises DataError where none does."""
    if not text.strip():
        raise DataError("no data was named; give a folder, a file or a set such as 'digits'")
    if text.startswith("~"):
        text = str(Path(text).expanduser())
    kinds = [catalog.find(SOURCES, name) for name in catalog.names(SOURCES)]
    for kind in kinds:
        if kind.accepts(text):
            source: Source = kind.open(text, config, progress)
            return source
    named = tuple(sorted(name for kind in kinds for name in kind.NAMES))
    raise DataError(f"no data at '{text}': no such file, folder or named set{catalog.nearest(text, named)}")


def open_parts(
    text: str, config: DataConfig, *, shape: Shape | None = None, progress: Progress = silent
) -> tuple[Dataset, Dataset]:
    """The training and the held-out data set of a source; the latter is empty where nothing is held out.

    Raises DataError for a source that cannot be read or divided.
    shape: (C, H, W) of the model that will read it; by default the config decides, see `chosen_shape`.
    """
    source = open_source(text, config, progress)
    train, heldout = _opened(source, split(source, config.heldout), config, shape, progress)
    return train, heldout


def open_dataset(
    text: str, config: DataConfig, part: Which, *, shape: Shape | None = None, progress: Progress = silent
) -> Dataset:
    """One part of a source, or all of it. Arguments and errors as in `open_parts`."""
    source = open_source(text, config, progress)
    chosen = whole(source) if part == "all" else split(source, config.heldout)[part == "heldout"]
    return _opened(source, (chosen,), config, shape, progress)[0]


def chosen_shape(shapes: npt.NDArray[np.int64], config: DataConfig) -> Shape:
    """(C, H, W) for pictures of these shapes (N, 3): H, W, C.

    Without `config.size`: their own where all share one with sides up to LARGEST_OWN, else a square whose side is the
    power of two at or below the median shorter side, LARGEST_CHOSEN at most. Colour where any picture has it.
    """
    channels = config.channels or int(shapes[:, 2].max())
    if config.size is not None:
        return channels, config.size, config.size
    height, width = (int(side) for side in shapes[0, :2])
    if (shapes[:, :2] == shapes[0, :2]).all() and max(height, width) <= LARGEST_OWN:
        return channels, height, width
    median = float(np.median(shapes[:, :2].min(1)))
    side = min(LARGEST_CHOSEN, 2 ** int(np.log2(median)))
    return channels, side, side


def _opened(
    source: Source, parts: tuple[Part, ...], config: DataConfig, shape: Shape | None, progress: Progress
) -> list[Dataset]:
    """Data sets of some parts of a source, decoded into memory where all of them fit."""
    if config.captions:
        _check_captions(source)
    shape = shape or chosen_shape(source.train.shapes, config)
    spec = DataSpec(shape=shape, classes=source.classes)
    in_memory = sum(len(part) for part in parts) * np.prod(shape) <= config.memory * GIB
    try:
        return [_dataset(part, spec, config, bool(in_memory), progress) for part in parts]
    except DataError as error:
        raise DataError(f"{source.name}: {error}") from None


def _dataset(part: Part, spec: DataSpec, config: DataConfig, in_memory: bool, progress: Progress) -> Dataset:
    if config.strict and part.quarantine:
        fault = part.quarantine[0]
        raise DataError(f"{fault.path}: {fault.reason} (data.strict is set)")
    channels, height, width = spec.shape
    read = Conformed(part.read, (channels, height, width), config.fit)
    if not in_memory:
        return Dataset(part, spec, read, None, config.binarise, config.captions)
    decoded = decode_all(part, read, config.strict, progress)
    if decoded.faults:
        part = replace(part.take(decoded.kept), quarantine=(*part.quarantine, *decoded.faults))
        read = replace(read, read=part.read)
    return Dataset(part, spec, read, torch.from_numpy(decoded.pixels), config.binarise, config.captions)


def _check_captions(source: Source) -> None:
    """Raises DataError where no picture has one."""
    if not any(text.strip() for part in (source.train, source.test) if part for text in part.captions):
        raise DataError(
            f"{source.name}: no picture has a caption: put photo.txt beside photo.jpg, or a metadata.csv with file_name and "
            "text into the folder, or `captions` into the .npz; or train with data.captions=0"
        )
