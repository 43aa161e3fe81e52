"""Random flips and shifts, a pure function of (seed, sample, epoch), for a whole batch at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vitrail.data.config import DataConfig
from vitrail.data.noise import bits
from vitrail.data.source import Pixels


def augmented(
    x: Pixels, config: DataConfig, seed: int, index: npt.NDArray[np.int64], epoch: npt.NDArray[np.int64]
) -> Pixels:
    """Pictures (B, C, H, W) flipped left-right and moved by up to `config.shift` pixels, edges repeated."""
    if not (config.flip or config.shift):
        return x
    drawn = bits(seed, index, epoch)
    if config.flip:
        mirror = (drawn & np.uint64(1)).astype(bool)
        x = np.where(mirror[:, None, None, None], x[..., ::-1], x)
    return _shifted(x, config.shift, drawn >> np.uint64(1)) if config.shift else x


def _shifted(x: Pixels, reach: int, drawn: npt.NDArray[np.uint64]) -> Pixels:
    """Each picture cut out of its own edge-repeated enlargement, at a place of its own."""
    places = np.uint64(2 * reach + 1)
    rows = (drawn % places).astype(np.int64)
    columns = (drawn // places % places).astype(np.int64)
    wide = np.pad(x, ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(wide, x.shape[2:], axis=(2, 3))  # (B, C, places, places, H, W)
    return views[np.arange(len(x)), :, rows, columns]
