"""Captions: where the texts of pictures are found, and texts as tokens.

The caption of photo.jpg is the contents of photo.txt beside it, else what a table says of it: a metadata.jsonl or metadata.csv in
its folder or in one above, with its path from there as `file_name`, and a `text`, as Hugging Face's imagefolder has it.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitrail.errors import DataError
from vitrail.types import NO_BYTE

TABLES = ("metadata.csv", "metadata.jsonl")
COLUMNS = ("text", "caption", "captions", "prompt", "description")  # of tables, the first that is there
LONGEST = 1 << 14  # bytes read of a text file


def tokens(texts: Sequence[str], length: int) -> Tensor:
    """(B, length) int64: UTF-8 bytes, NO_BYTE behind them. What is longer is cut between two characters.

    Blanks and line ends become single blanks, and letters with accents one character, however they were typed.
    """
    rows = np.full((len(texts), length), NO_BYTE, dtype=np.int64)
    for row, text in zip(rows, texts, strict=True):
        plain = unicodedata.normalize("NFC", " ".join(text.split())).encode(errors="replace")
        cut = plain[:length].decode(errors="ignore").encode()
        row[: len(cut)] = np.frombuffer(cut, dtype=np.uint8)
    return torch.from_numpy(rows)


def beside(root: Path, keys: Sequence[str]) -> tuple[str, ...]:
    """The captions of pictures by their paths inside a folder, "" for none. Raises DataError on a damaged table."""
    told = _tables(root, keys)
    return tuple(_file(root / key) or told.get(key, "") for key in keys)


def of_row(row: Mapping[str, Any]) -> str:
    """The caption in a row of a table; of several the first."""
    found = next((row[name] for name in COLUMNS if row.get(name)), "")
    return str(found[0] if isinstance(found, list) else found)


def _file(picture: Path) -> str:
    path = picture.with_suffix(".txt")
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            return file.read(LONGEST).decode("utf-8-sig", errors="replace").strip()
    except OSError:
        return ""


def _tables(root: Path, keys: Sequence[str]) -> dict[str, str]:
    """What tables say, by path inside the root; where two name a picture, the one nearer to it counts."""
    holding = {PurePosixPath(key.rpartition("/")[0]) for key in keys}
    folders = {above for folder in holding for above in (folder, *folder.parents)}
    return {
        (folder / name).as_posix(): text
        for folder in sorted(folders, key=lambda each: len(each.parts))
        for table in TABLES
        for name, text in _rows(root / folder / table)
    }


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """(file_name, caption) of every row that has both. Raises DataError."""
    if not path.is_file():
        return
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines: Iterable[Any] = (
                csv.DictReader(file) if path.suffix == ".csv" else map(json.loads, filter(str.strip, file))
            )
            for row in lines:
                if row.get("file_name") and (text := of_row(row)):
                    yield str(row["file_name"]), text
    except (OSError, ValueError, AttributeError, RecursionError, csv.Error) as error:
        raise DataError(f"{path}: not a table of captions: {' '.join(str(error).split())}") from None
