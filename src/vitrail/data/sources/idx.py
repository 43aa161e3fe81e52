"""A folder of idx files as MNIST has them: train-images-idx3-ubyte and its three companions, gzipped or not.

Format: http://yann.lecun.com/exdb/mnist
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from vitrail.data.config import DataConfig
from vitrail.data.source import Labels, Part, Progress, Source, silent, stored
from vitrail.errors import DataError

NAMES: tuple[str, ...] = ()
TRAIN, TEST = "train", "t10k"
IMAGES, LABELS = ("images", "idx3"), ("labels", "idx1")
UNSIGNED_BYTES = 0x08  # the format's code of the only element type that pictures and labels use
LARGEST = 64 * 2**30  # bytes; a header that promises more is wrong


def accepts(text: str) -> bool:
    return found(Path(text), TRAIN, *IMAGES) is not None


def open(text: str, config: DataConfig, progress: Progress = silent) -> Source:
    return read_folder(Path(text), text)


def read_folder(folder: Path, name: str, classes: tuple[str, ...] = ()) -> Source:
    """Train and, where it is there, test part; class names are the digits where none are given."""
    train = _part(folder, TRAIN)
    test = _part(folder, TEST) if found(folder, TEST, *IMAGES) else None
    highest = max(int(part.labels.max()) for part in (train, test) if part is not None)
    if classes and highest >= len(classes):
        raise DataError(f"{folder}: label {highest}, but there are {len(classes)} classes")
    return Source(name, train, test, classes or tuple(str(i) for i in range(highest + 1)))


def found(folder: Path, part: str, content: str, kind: str) -> Path | None:
    """The file of a part, under any of the names in use: with dash or dot, with or without .gz."""
    names = (f"{part}-{content}{sign}{kind}-ubyte{gz}" for sign in "-." for gz in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read(path: Path) -> npt.NDArray[np.uint8]:
    """The array in an idx file. Its header is checked before anything is allocated. Raises DataError."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _body(file, _shape(file))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: {error}") from None


def _shape(file: BinaryIO | gzip.GzipFile) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != UNSIGNED_BYTES or magic[3] not in (1, 3):
        raise DataError(f"not an idx file of bytes: begins with {magic.hex(' ') or 'nothing'}")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError("cut off in its header")
    shape = struct.unpack(f">{magic[3]}I", sizes)
    if 0 in shape or math.prod(shape) > LARGEST:
        raise DataError(f"its header promises an array of {shape}")
    return shape


def _body(file: BinaryIO | gzip.GzipFile, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Read in steps, so that a lying header costs no memory."""
    wanted, body = math.prod(shape), bytearray()
    while len(body) <= wanted and (more := file.read(min(2**24, wanted + 1 - len(body)))):
        body += more
    if len(body) != wanted:
        raise DataError(f"its header promises {wanted} bytes, it has {'more' if len(body) > wanted else len(body)}")
    return np.frombuffer(bytes(body), dtype=np.uint8).reshape(shape)


def _part(folder: Path, part: str) -> Part:
    images = found(folder, part, *IMAGES)
    assert images is not None
    pixels = read(images)
    if pixels.ndim != 3:
        raise DataError(f"{images}: holds {pixels.ndim} axes, wanted 3 (pictures, rows, columns)")
    return stored(pixels[..., None], _labels(folder, part, len(pixels)))


def _labels(folder: Path, part: str, count: int) -> Labels | None:
    path = found(folder, part, *LABELS)
    if path is None:
        return None
    labels = read(path)
    if labels.shape != (count,):
        raise DataError(f"{path}: {labels.shape} labels for {count} pictures")
    return labels.astype(np.int64)
