"""A data set of the Hugging Face hub, as `hf:name` or `hf:name:configuration`; needs the extra `hub`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrail.data import captions
from vitrail.data.config import DataConfig
from vitrail.data.modalities.image import pixels
from vitrail.data.source import Part, Pixels, Progress, Source, digest, silent, unknown
from vitrail.errors import DataError, UsageError

NAMES: tuple[str, ...] = ()
PREFIX = "hf:"
TRAIN = "train"
TEST = ("test", "validation", "val", "valid")
LOOKED_AT = 64


@dataclass(frozen=True)
class Rows:
    """Reads the image column of a table by position."""

    table: Any  # datasets.Dataset
    column: str

    def __call__(self, i: int, least: int | None = None) -> Pixels:
        try:
            return pixels(self.table[i][self.column])
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"damaged: {' '.join(str(error).split())}") from None


def accepts(text: str) -> bool:
    return text.startswith(PREFIX)


def open(text: str, config: DataConfig, progress: Progress = silent) -> Source:
    """The train and test splits. Raises UsageError without the extra, DataError where the set cannot be had or read."""
    try:
        import datasets
    except ImportError:
        raise UsageError(f"{text}: reading from the hub needs an extra: pip install 'vitrail[hub]'") from None
    name, _, configuration = text.removeprefix(PREFIX).partition(":")
    try:
        splits = datasets.load_dataset(name, configuration or None)
    except Exception as error:  # network, missing set, missing configuration: the library raises its own for each
        raise DataError(f"{text}: {' '.join(str(error).split())[:300]}") from error
    if TRAIN not in splits:
        raise DataError(f"{text}: has no split '{TRAIN}' (there is: {', '.join(splits)})")
    test = next((split for split in TEST if split in splits), None)
    train = _part(splits[TRAIN], text, config)
    return Source(text, train, _part(splits[test], text, config) if test else None, _classes(splits[TRAIN]))


def _part(table: Any, text: str, config: DataConfig) -> Part:
    column = _column(table, "Image")
    if column is None:
        raise DataError(f"{text}: has no column of pictures (there is: {', '.join(table.features)})")
    label = _column(table, "ClassLabel")
    read = Rows(table, column)
    count = len(table)
    return Part(
        keys=tuple(f"{i:08d}" for i in range(count)),
        labels=np.array(table[label], dtype=np.int64) if label else unknown(count),
        shapes=_shapes(read, count),
        read=read,
        stamp=digest(str(getattr(table, "_fingerprint", text))),
        captions=_captions(table) if config.captions else (),
    )


def _column(table: Any, kind: str) -> str | None:
    """The first column of a feature type, known by its name: "Image" or "ClassLabel"."""
    return next((name for name, feature in table.features.items() if type(feature).__name__ == kind), None)


def _classes(table: Any) -> tuple[str, ...]:
    label = _column(table, "ClassLabel")
    return tuple(table.features[label].names) if label else ()


def _captions(table: Any) -> tuple[str, ...]:
    """Of the first column that is named like a text."""
    name = next((name for name in captions.COLUMNS if name in table.features), None)
    return ("",) * len(table) if name is None else tuple(captions.of_row({name: text}) for text in table[name])


def _shapes(read: Rows, count: int) -> npt.NDArray[np.int64]:
    """Shapes (N, 3) judged by LOOKED_AT pictures, because the tables do not state them."""
    looked_at = np.linspace(0, count - 1, min(count, LOOKED_AT)).astype(np.int64)
    seen = np.array([read(int(i)).shape for i in looked_at], dtype=np.int64)
    return seen[np.searchsorted(looked_at, np.arange(count), side="right") - 1]
