"""Random flips, shifts, small changes and black or white: pure functions of (seed, sample, epoch), for whole batches at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vitrail.data.config import DataConfig
from vitrail.data.noise import bits, mix
from vitrail.data.source import Pixels
from vitrail.data.warping import warped

JUDGED = 2008  # seed of the one black-and-white form of each sample that models are judged by


def augmented(
    x: Pixels, config: DataConfig, seed: int, index: npt.NDArray[np.int64], epoch: npt.NDArray[np.int64]
) -> Pixels:
    """Pictures (B, C, H, W) flipped left-right and moved by up to `config.shift` pixels, edges repeated; then `warped` and
    `binarised`."""
    if not (augments(config) or config.binarise):
        return x
    drawn = bits(seed, index, epoch)
    x = _moved(x, config, drawn)
    x = warped(x, config, drawn) if config.augment else x
    return binarised(x, drawn) if config.binarise else x


def augments(config: DataConfig) -> bool:
    """Whether a sample looks otherwise in every epoch."""
    return bool(config.flip or config.shift or config.augment)


def binarised(x: Pixels, drawn: npt.NDArray[np.uint64]) -> Pixels:
    """Values v of pictures (B, C, H, W) become 255 with probability v / 255, else 0; drawn: random bits (B,).

    Source: Salakhutdinov & Murray 2008, "On the quantitative analysis of deep belief networks"; anew each epoch: Burda et al. 2016.
    """
    count = x[0].size
    words = mix(mix(drawn)[:, None] + np.arange(-(-count // 2), dtype=np.uint64))  # (B, half): 32 bits for each value
    uniform = words.view(np.uint32)[:, :count].reshape(x.shape)
    # v / 255 of all 32-bit numbers lie below the threshold: 0 has none of them, and 255 every one.
    threshold = np.arange(256, dtype=np.uint64) * np.uint64(1 << 32) // np.uint64(255)
    return np.where(uniform < threshold[x], np.uint8(255), np.uint8(0))


def judged(x: Pixels, index: npt.NDArray[np.int64]) -> Pixels:
    """The same, always alike: a function of the sample's position alone."""
    return binarised(x, bits(JUDGED, index, np.zeros_like(index)))


def _moved(x: Pixels, config: DataConfig, drawn: npt.NDArray[np.uint64]) -> Pixels:
    """Flipped and shifted."""
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
