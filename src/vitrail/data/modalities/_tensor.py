"""What people hold pictures in, brought to one form: (B, C, H, W) float in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitrail.data.modalities._decode import pixels
from vitrail.errors import DataError

COLOURS = (1, 3)
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601
SLACK = 1e-4  # rounding of earlier arithmetic; values this far outside [0, 1] are clamped
WANTED = "wanted (B, C, H, W) floats in [0, 1], uint8 arrays (H, W, C) or (B, H, W, C), or PIL images"


def as_tensor(x: Any, channels: int | None = None) -> Tensor:
    """Pictures in any usual form as (B, C, H, W) float32 in [0, 1].

    x: a PIL image, an array or tensor of uint8 (0..255) or float (0..1), one picture or many, channels first or last,
    or a list of such pictures of one size. channels: 1 or 3 converts to grey or RGB.
    Raises DataError on another shape, type or range.
    """
    if isinstance(x, Image.Image):
        batch = _unit(_batched(pixels(x), channels_last=True))
    elif isinstance(x, np.ndarray):
        batch = _unit(_batched(x, channels_last=True))
    elif isinstance(x, Tensor):
        batch = _unit(_batched(x, channels_last=False))
    elif isinstance(x, Sequence) and not isinstance(x, str) and len(x):
        batch = _stack([as_tensor(item, channels) for item in x])
    else:
        raise DataError(f"cannot take {type(x).__name__} for pictures; {WANTED}")
    return batch if channels is None else _coloured(batch, channels)


def to_uint8(x: Tensor) -> Tensor:
    """[0, 1] to 0..255, rounded half to even; the one place where vitrail rounds to 8 bits."""
    return (x.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)


def _stack(batches: list[Tensor]) -> Tensor:
    shapes = {tuple(batch.shape[1:]) for batch in batches}
    if len(shapes) > 1:
        raise DataError(f"pictures of different shapes {sorted(shapes)}; bring them to one size first")
    return torch.cat(batches)


def _batched(x: np.ndarray | Tensor, channels_last: bool) -> Tensor:
    """(B, C, H, W) of the same values; where both readings fit, arrays are channels-last and tensors channels-first."""
    shape = tuple(x.shape)
    tensor = x if isinstance(x, Tensor) else torch.from_numpy(_plain(x))
    if len(shape) == 2:
        return tensor[None, None]
    if len(shape) not in (3, 4) or 0 in shape:
        raise DataError(f"pictures of shape {shape}; {WANTED}")
    first, last = shape[-3] in COLOURS, shape[-1] in COLOURS
    if not first and not last:
        if len(shape) == 3 and shape[-1] != 4:
            return tensor[:, None]  # (B, H, W), grey
        raise DataError(f"pictures of shape {shape} have neither 1 nor 3 channels; {WANTED}")
    if last and (channels_last or not first):
        tensor = tensor.movedim(-1, -3)
    return tensor if len(shape) == 4 else tensor[None]


def _plain(x: np.ndarray) -> np.ndarray:
    """An array that torch can take: known type, native byte order, positive strides."""
    if x.dtype.kind not in "uif":
        raise DataError(f"an array of {x.dtype} is no picture; {WANTED}")
    return np.array(x, dtype=x.dtype.newbyteorder("="))


def _unit(x: Tensor) -> Tensor:
    """uint8 / 255, or floats whose range was checked."""
    if x.dtype == torch.uint8:
        return x.float() / 255
    if not x.is_floating_point():
        raise DataError(f"integers of type {x.dtype} state no range; give uint8 (0..255) or floats in [0, 1]")
    low, high = (float(v) for v in x.detach().aminmax())
    if not (low >= -SLACK and high <= 1 + SLACK):  # so put, NaN is refused too
        raise DataError(f"values run from {low:g} to {high:g}, wanted [0, 1]{_advice(low, high)}")
    return x.float().clamp(0, 1)


def _advice(low: float, high: float) -> str:
    if -1 - SLACK <= low < 0 and high <= 1 + SLACK:
        return "; (x + 1) / 2 maps [-1, 1] there"
    return "; divide by 255" if low >= 0 and 1 < high <= 255 else ""


def _coloured(x: Tensor, channels: int) -> Tensor:
    if channels not in COLOURS:
        raise DataError(f"pictures have 1 or 3 channels, not {channels}")
    if x.shape[1] == channels:
        return x
    if channels == 3:
        return x.expand(-1, 3, -1, -1)
    return (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
