"""JPEG compression of a random quality; pictures only."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image
from pydantic import Field, model_validator
from torch import Tensor

from vitrail.data.degradations import Degradation
from vitrail.data.modalities.image import to_uint8
from vitrail.errors import UsageError
from vitrail.types import Config as PartConfig


class Config(PartConfig):
    """How hard the pictures are compressed."""

    quality: tuple[int, int] = Field(
        (10, 60), description="JPEG quality, drawn evenly from this range; 1 worst, 95 best"
    )

    @model_validator(mode="after")
    def _in_range(self) -> Config:
        if not 1 <= self.quality[0] <= self.quality[1] <= 95:
            raise ValueError(f"quality wants 1 <= least <= most <= 95, got {self.quality}")
        return self

    def build(self) -> Degradation:
        return partial(compressed, quality=self.quality)


def compressed(x: Tensor, rngs: Sequence[np.random.Generator], quality: tuple[int, int]) -> Tensor:
    """Each picture of (B, C, H, W) through JPEG and back. Raises UsageError on what is no picture."""
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise UsageError(f"the degradation 'jpeg' wants pictures (B, 1 or 3, H, W), got {tuple(x.shape)}")
    levels = [int(rng.integers(quality[0], quality[1] + 1)) for rng in rngs]
    arrays = to_uint8(x).cpu().movedim(1, -1).numpy()  # (B, H, W, C)
    back = np.stack([_through_jpeg(array, level) for array, level in zip(arrays, levels, strict=True)])
    return (torch.from_numpy(back).movedim(-1, 1).float() / 255).to(x)


def _through_jpeg(array: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file)).reshape(array.shape)
