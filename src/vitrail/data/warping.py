"""Random small changes of pictures that leave what they show: turned, zoomed, moved, lit otherwise; for small training sets.

Source: the geometric part of Karras et al. 2020, "Training generative adversarial networks with limited data", appendix B.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from vitrail.data.config import DataConfig
from vitrail.data.noise import mix
from vitrail.data.source import Pixels

DRAWS = 5  # numbers per sample: angle, zoom, two moves, light


def warped(x: Pixels, config: DataConfig, drawn: npt.NDArray[np.uint64]) -> Pixels:
    """Pictures (B, C, H, W), each changed by its own random bits (B,); what comes in at the edges is mirrored there.

    Each change is drawn between minus and plus its largest, small ones more often than large ones, and bicubic in between.
    """
    strength = config.augment or 0.0
    angle, zoom, down, right, light = strength * _spread(drawn)
    angle = torch.deg2rad(config.turn * angle)
    scale = torch.exp2(-config.zoom * zoom / math.log(2))  # about 1 -+ zoom
    ratio = x.shape[2] / x.shape[3]
    cos, sin = angle.cos() * scale, angle.sin() * scale
    # Where each place of the result is taken from, in coordinates from -1 to 1 (x, y).
    first = torch.stack([cos, -sin * ratio, 2 * config.move * right], dim=1)
    second = torch.stack([sin / ratio, cos, 2 * config.move * down], dim=1)
    places = F.affine_grid(torch.stack([first, second], dim=1), list(x.shape), align_corners=False)
    values = torch.from_numpy(np.ascontiguousarray(x)).float().div_(255)
    moved = F.grid_sample(values, places, mode="bicubic", padding_mode="reflection", align_corners=False).clamp_(0, 1)
    gamma = torch.exp2(config.light * light)  # black stays black, white stays white
    lit = moved.pow(gamma[:, None, None, None])
    made: Pixels = lit.mul_(255).round_().to(torch.uint8).numpy()
    return made


def _spread(drawn: npt.NDArray[np.uint64]) -> torch.Tensor:
    """(DRAWS, B) float32 in (-1, 1), each the difference of two uniform numbers."""
    words = mix(mix(drawn)[None] + np.arange(DRAWS, dtype=np.uint64)[:, None])
    halves = words.view(np.uint32).reshape(DRAWS, -1, 2).astype(np.float64) / 2**32
    return torch.from_numpy((halves[..., 0] - halves[..., 1]).astype(np.float32))
