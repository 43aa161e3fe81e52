"""Files of latents: plain NumPy arrays, no pickle, written at once.

    format, fingerprint     of the file; of the model that encoded
    codes or z              (N, Q, h, w) integers, or (N, D, h, w) floats
    keys                    (N,) names of the pictures
    space                   (2,) height and width of the pictures

Pictures of several sizes take one set of the last three per size, with names that end in `_480x640`.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vitrail import durable
from vitrail.errors import DataError

FORMAT = 1
LARGEST = 1 << 36  # bytes that an array may claim to take


@dataclass(frozen=True)
class Group:
    """Latents of pictures of one size."""

    keys: tuple[str, ...]
    latents: Tensor  # codes (N, Q, h, w) int64, or z (N, D, h, w) float32
    space: tuple[int, int]


def write(path: Path, groups: Sequence[Group], fingerprint: str) -> None:
    """Replace the file. The same latents make the same bytes. Raises OSError."""
    arrays: dict[str, npt.NDArray[Any]] = {"format": np.array(FORMAT), "fingerprint": np.array(fingerprint)}
    for group in groups:
        end = f"_{group.space[0]}x{group.space[1]}" if len(groups) > 1 else ""
        kind = "z" if group.latents.is_floating_point() else "codes"
        arrays[f"{kind}{end}"] = _small(group.latents.cpu().numpy())
        arrays[f"keys{end}"] = np.array(group.keys, dtype=np.str_)
        arrays[f"space{end}"] = np.array(group.space)
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.write_file(path, content.getvalue(), through=True)


def marked(path: Path) -> bool:
    """Whether `write` may have written a file; only its table of contents is read."""
    try:
        with zipfile.ZipFile(path) as file:
            return {"format.npy", "fingerprint.npy"} <= set(file.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def read(path: Path, fingerprint: str) -> list[Group]:
    """The groups of a file. Raises DataError where it is none, is damaged, or was made by another model."""
    arrays = _arrays(path)
    try:
        version, maker = int(arrays["format"]), str(arrays["fingerprint"])
        ends = sorted(name.removeprefix("keys") for name in arrays if name.startswith("keys"))
        groups = [_group(arrays, end) for end in ends] if version == FORMAT else []
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not a file of `vitrail encode` ({error} is missing or misshapen)") from None
    if version != FORMAT:
        raise DataError(f"{path}: format {version}, this vitrail reads {FORMAT}; upgrade vitrail")
    if maker != fingerprint:
        raise DataError(f"{path}: encoded by model {maker}, this is {fingerprint}; decode with the model that encoded")
    return groups


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as file:
            claimed = sum(entry.file_size for entry in file.infolist())
        if claimed > LARGEST:
            raise DataError(f"{path}: claims {claimed / 2**30:.0f} GiB, refused")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise DataError(f"no file '{path}'") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a file of `vitrail encode`: {error}") from None


def _group(arrays: Mapping[str, npt.NDArray[Any]], end: str) -> Group:
    keys, (height, width) = arrays[f"keys{end}"], arrays[f"space{end}"].tolist()
    discrete = f"codes{end}" in arrays
    values = arrays[f"codes{end}" if discrete else f"z{end}"]
    if len(keys) != len(values) or values.dtype.kind not in ("iu" if discrete else "f"):
        raise ValueError(f"'{'codes' if discrete else 'z'}{end}'")
    latents = torch.from_numpy(values.astype(np.int64 if discrete else np.float32))
    return Group(tuple(keys.tolist()), latents, (int(height), int(width)))


def _small(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Codes in the smallest signless integers that hold them; floats as they are."""
    if values.dtype.kind == "f":
        return values
    bits = math.ceil(math.log2(int(values.max(initial=0)) + 1))
    return values.astype(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.int64)
