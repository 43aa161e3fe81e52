"""Pictures in a .npy or .npz file; of the latter also sheets, where many pictures are stacked in one lossless WebP.

An .npz holds `images` (or x, data, x_train, ...) of shape (N, H, W), (N, H, W, C) or (N, C, H, W), and may hold
`labels` (or y, y_train, ...), `classes`, `ids`, `captions` (strings), and a test part (`test_images`, x_test, ... with their
labels and `test_captions`).
Sheets are `sheet000`, `sheet001`, ... beside `shape`: (N, H, W, C).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vitrail.data.config import DataConfig
from vitrail.data.modalities.image import pixels
from vitrail.data.resize import to_channels
from vitrail.data.source import (
    Labels,
    Part,
    Pixels,
    Progress,
    Source,
    same_shape,
    silent,
    stamp_of,
    stored,
    unknown,
)
from vitrail.errors import DataError

NAMES: tuple[str, ...] = ()
IMAGES = ("images", "x", "X", "data", "x_train", "X_train", "train_images", "train_x", "train", "arr_0")
LABELS = ("labels", "y", "Y", "label", "targets", "y_train", "Y_train", "train_labels", "train_y")
TEST_IMAGES = ("x_test", "X_test", "test_images", "test_x", "test")
TEST_LABELS = ("y_test", "Y_test", "test_labels", "test_y")
KEYS = ("ids", "keys", "names")
CAPTIONS, TEST_CAPTIONS = "captions", "test_captions"
MOST_CLASSES = 100_000
Array = npt.NDArray[Any]


def accepts(text: str) -> bool:
    path = Path(text)
    return path.suffix.lower() in (".npy", ".npz") and path.is_file()


def open(text: str, config: DataConfig, progress: Progress = silent) -> Source:
    """The pictures in one file. Raises DataError where it is damaged, or holds no pictures that can be told."""
    path = Path(text)
    if path.suffix.lower() == ".npy":
        return Source(text, mapped(path))
    train, test, classes = read_npz(path, progress, config.captions > 0)
    return Source(text, train, test, classes)


def read_npz(
    path: Path, progress: Progress = silent, captions: bool = False
) -> tuple[Part, Part | None, tuple[str, ...]]:
    """Train part, test part if there is one, and class names. captions: whether to read them. Raises DataError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            train, test, classes = _parts(file, progress)
            if captions:
                train = _captioned(train, file, CAPTIONS)
                test = test and _captioned(test, file, TEST_CAPTIONS)
            return train, test, classes
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        why = str(error).partition("If you trust")[0].strip()  # NumPy's advice is to unpickle; nothing here ever does
        raise DataError(f"{path}: damaged or not plain arrays: {why}") from None


def mapped(path: Path) -> Part:
    """The pictures of a .npy file, left on disk until they are read."""
    array = _map(path)
    shape = layout(array.shape)
    count = len(array)
    return Part(
        keys=tuple(f"{i:08d}" for i in range(count)),
        labels=unknown(count),
        shapes=same_shape(count, shape),
        read=Mapped(path),
        stamp=stamp_of(array),
    )


@dataclass(frozen=True)
class Mapped:
    """Reads rows of a .npy file through the page cache, opened once in each process."""

    path: Path

    def __call__(self, i: int, least: int | None = None) -> Pixels:
        return pictures(_map(self.path)[i : i + 1])[0]


def layout(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(H, W, C) of one picture in an array (N, H, W), (N, H, W, C) or (N, C, H, W). Raises DataError on others."""
    if len(shape) == 3 and 0 not in shape:
        return shape[1], shape[2], 1
    if len(shape) == 4 and 0 not in shape and shape[3] in (1, 3):
        return shape[1], shape[2], shape[3]
    if len(shape) == 4 and 0 not in shape and shape[1] in (1, 3):
        return shape[2], shape[3], shape[1]
    raise DataError(f"an array of shape {shape} holds no pictures; wanted (N, H, W), (N, H, W, C) or (N, C, H, W)")


def pictures(array: Array) -> Pixels:
    """An array of pictures in any layout and type as (N, H, W, C) uint8. Raises DataError."""
    height, width, channels = layout(array.shape)
    if array.ndim == 4 and array.shape[1:] != (height, width, channels):
        array = np.moveaxis(array, 1, -1)
    return to_8_bits(array).reshape(len(array), height, width, channels)


def to_8_bits(array: Array) -> npt.NDArray[np.uint8]:
    """Bytes as they are, 16 bits scaled down, truth values to black and white, floats from [0, 1]. Raises DataError."""
    kind, limit = array.dtype.kind, 1 if array.dtype.kind == "f" else 255
    if array.dtype == np.uint8:
        return array
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if kind not in "iuf":
        raise DataError(f"an array of {array.dtype} holds no pictures; wanted uint8, uint16, bool or floats in [0, 1]")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= limit):  # so put, NaN is refused too
        raise DataError(f"{array.dtype} values run from {low:g} to {high:g}, wanted 0 to {limit}")
    return np.rint(array * (255 // limit)).astype(np.uint8)


@lru_cache(maxsize=16)
def _map(path: Path) -> Array:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: damaged or not a plain array: {error}") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: holds several arrays; name it .npz")
    return array


def _parts(file: Mapping[str, Array], progress: Progress) -> tuple[Part, Part | None, tuple[str, ...]]:
    images = _named(file, IMAGES)
    if any(name.startswith("sheet") for name in file):
        array = sheets(file, progress)
    elif images is None:
        held = ", ".join(f"{name} {file[name].shape}" for name in file) or "nothing"
        raise DataError(f"none of its arrays is called 'images' (or x, data, x_train); it holds {held}")
    else:
        array = pictures(images)
    train = stored(array, _labels(file, LABELS, len(array)), _keys(file, len(array)))
    test = None
    if (held_out := _named(file, TEST_IMAGES)) is not None:
        test = stored(pictures(held_out), _labels(file, TEST_LABELS, len(held_out)))
    return train, test, _classes(file, max(int(part.labels.max()) for part in (train, test) if part is not None))


def sheets(file: Mapping[str, Array], progress: Progress = silent) -> Pixels:
    """The pictures (N, H, W, C) of sheets, each of which is a lossless WebP of pictures one below the other."""
    shape = tuple(int(size) for size in file["shape"])
    height, width, channels = layout(shape)
    names = sorted(name for name in file if name.startswith("sheet"))
    found = []
    for done, name in enumerate(names, start=1):
        with Image.open(io.BytesIO(file[name].tobytes()), formats=("WEBP", "PNG")) as sheet:
            found.append(to_channels(pixels(sheet), channels).reshape(-1, height, width, channels))
        progress(done, len(names))
    joined = np.concatenate(found)
    if joined.shape != shape:
        raise DataError(f"its sheets hold pictures of shape {joined.shape}, but its `shape` says {shape}")
    return joined


def _named(file: Mapping[str, Array], names: tuple[str, ...]) -> Array | None:
    return next((file[name] for name in names if name in file), None)


def _labels(file: Mapping[str, Array], names: tuple[str, ...], count: int) -> Labels | None:
    labels = _named(file, names)
    if labels is None:
        return None
    if labels.size != count or labels.dtype.kind not in "iu":
        raise DataError(f"labels are {labels.dtype} {labels.shape}; wanted {count} whole numbers, one a picture")
    flat: Labels = labels.reshape(-1).astype(np.int64)
    if flat.min() < -1 or flat.max() > MOST_CLASSES:
        raise DataError(f"labels run from {flat.min()} to {flat.max()}; wanted 0 to {MOST_CLASSES}, -1 for unknown")
    return flat


def _keys(file: Mapping[str, Array], count: int) -> list[str] | None:
    """The samples' own names, where each has one."""
    names = _named(file, KEYS)
    if names is None or names.shape != (count,):
        return None
    texts = [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names]
    return texts if len(set(texts)) == count else None


def _captioned(part: Part, file: Mapping[str, Array], name: str) -> Part:
    """The part with the captions of an array; none has one where the array is not there. Raises DataError."""
    texts = file[name] if name in file else np.full(len(part), "")
    if texts.shape != (len(part),) or texts.dtype.kind not in "US":
        raise DataError(f"{name} are {texts.dtype} {texts.shape}; wanted {len(part)} strings, one a picture")
    plain = (text.decode(errors="replace") if isinstance(text, bytes) else str(text) for text in texts)
    return replace(part, captions=tuple(plain))


def _classes(file: Mapping[str, Array], highest: int) -> tuple[str, ...]:
    names = tuple(str(name) for name in file["classes"]) if "classes" in file else ()
    if names and highest >= len(names):
        raise DataError(f"label {highest}, but `classes` has {len(names)} names")
    return names or tuple(str(i) for i in range(highest + 1))
