"""Pictures: read, written as PNG with their story inside, laid out in grids.

The value range is [0, 1]; channels are 1 (grey) or 3 (RGB).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from vitrail import durable
from vitrail.data.modalities._decode import MAX_PIXELS, SUFFIXES, Header, decode, header, pixels
from vitrail.data.modalities._tensor import as_tensor, to_uint8
from vitrail.data.source import Pixels
from vitrail.errors import DataError, UsageError

__all__ = [
    "SUFFIXES",
    "Header",
    "as_tensor",
    "decode",
    "dims",
    "grid",
    "header",
    "marked",
    "metadata",
    "pixels",
    "read",
    "save_grid",
    "to_uint8",
    "write",
]

dims = 2  # space axes
MARK = ("Software", "vitrail")  # the text chunk of every PNG that vitrail writes; the keyword is PNG's own


def read(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, least: int | None = None) -> Pixels:
    """The picture in a file as (H, W, C) uint8, C 1 or 3. Raises DataError: the file, then the reason.

    What counts is the contents, not the name. EXIF orientation is applied, transparency laid over white, 16 bits are
    scaled to 8, CMYK and palettes become RGB; of an animation the first frame is read.
    least: where given, a JPEG may come back smaller, though no side below this one (several times faster).
    """
    try:
        return decode(Path(path), max_pixels, least)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error.__cause__


def write(path: str | os.PathLike[str], x: Tensor, metadata: Mapping[str, str] | None = None) -> None:
    """One picture (C, H, W) in [0, 1] as PNG, marked as vitrail's; `metadata` becomes text chunks.

    Raises UsageError on another suffix, OSError with the path where it cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: pictures are written as PNG; name it {path.with_suffix('.png').name}")
    if x.ndim != 3 or x.shape[0] not in (1, 3):
        raise DataError(f"{path}: a picture is (C, H, W) with 1 or 3 channels, got {tuple(x.shape)}")
    array = to_uint8(x).cpu().movedim(0, -1).squeeze(-1).numpy()  # (H, W, 3) or (H, W)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(*MARK)
    for key, text in (metadata or {}).items():
        chunks.add_itxt(key, text)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        Image.fromarray(array).save(beside, format="PNG", pnginfo=chunks)
        durable.put_in_place(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text chunks of a PNG, as `write` put them there."""
    with Image.open(path, formats=("PNG",)) as image:
        image.load()  # chunks may follow the pixels
        return {key: str(text) for key, text in getattr(image, "text", {}).items() if (key, text) != MARK}


def marked(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a PNG that vitrail wrote; only its header is read."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return image.info.get(MARK[0]) == MARK[1] or MARK[1] in image.info
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def grid(x: Tensor, columns: int | None = None, gap: int = 2) -> Tensor:
    """Pictures (B, C, H, W) side by side as one (C, H', W'), row by row, white between; about square by default."""
    count, channels, height, width = x.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    sheet = x.new_ones(rows * columns, channels, height + gap, width + gap)
    sheet[:count, :, :height, :width] = x
    sheet = sheet.view(rows, columns, channels, height + gap, width + gap)
    joined = sheet.permute(2, 0, 3, 1, 4).reshape(channels, rows * (height + gap), columns * (width + gap))
    return joined[:, : joined.shape[1] - gap, : joined.shape[2] - gap]


def save_grid(
    path: str | os.PathLike[str],
    x: Tensor,
    columns: int | None = None,
    metadata: Mapping[str, str] | None = None,
    least: int = 0,
) -> None:
    """`grid` of pictures (B, C, H, W) as one PNG; pictures with sides below `least` are enlarged by a whole factor."""
    factor = max(1, -(-least // max(1, min(x.shape[-2:]))))
    large = torch.repeat_interleave(torch.repeat_interleave(x.detach().float(), factor, -1), factor, -2)
    write(path, grid(large, columns), metadata)
