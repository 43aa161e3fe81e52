"""How a picture of any shape becomes one of the wanted shape: crop, pad or stretch, then grey or RGB."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from vitrail.data.source import Pixels

Fit = Literal["crop", "pad", "stretch"]
Box = tuple[float, float, float, float]  # left, upper, right, lower, in pixels of the original


def conform(picture: Pixels, shape: tuple[int, int, int], fit: Fit) -> Pixels:
    """(H, W, C) of any size and colour as (C, H, W) of the wanted `shape`, unchanged where it already has it."""
    channels, height, width = shape
    sized = resize(to_channels(picture, channels), height, width, fit)
    return np.moveaxis(sized, -1, 0)


def resize(picture: Pixels, height: int, width: int, fit: Fit) -> Pixels:
    """(H, W, C) as (height, width, C), by Lanczos: cut to the middle, padded by repeated edges, or distorted."""
    if picture.shape[:2] == (height, width):
        return picture
    if fit == "pad":
        return _pad(picture, height, width)
    box = middle(picture.shape[0], picture.shape[1], height / width) if fit == "crop" else None
    return _lanczos(picture, height, width, box)


def middle(height: int, width: int, ratio: float) -> Box:
    """The largest box of the wanted height-to-width ratio, in the middle."""
    box_width, box_height = min(width, height / ratio), min(height, width * ratio)
    left, upper = (width - box_width) / 2, (height - box_height) / 2
    return left, upper, left + box_width, upper + box_height


def to_channels(picture: Pixels, channels: int) -> Pixels:
    """Grey (ITU-R 601 luma) or RGB (grey repeated)."""
    if picture.shape[-1] == channels:
        return picture
    if channels == 3:
        return np.repeat(picture, 3, axis=-1)
    return np.asarray(Image.fromarray(picture).convert("L"))[..., None]


def _pad(picture: Pixels, height: int, width: int) -> Pixels:
    scale = min(height / picture.shape[0], width / picture.shape[1])
    inner_height, inner_width = (max(1, round(side * scale)) for side in picture.shape[:2])
    inner = _lanczos(picture, min(inner_height, height), min(inner_width, width), None)
    rows, columns = height - inner.shape[0], width - inner.shape[1]
    border = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0))
    return np.pad(inner, border, mode="edge")


def _lanczos(picture: Pixels, height: int, width: int, box: Box | None) -> Pixels:
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    resized = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, box=box))
    return resized.reshape(height, width, picture.shape[-1])
