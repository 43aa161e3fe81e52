"""Parts hidden behind one grey level: boxes at random places, or a share of all patches (or pixels)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from vitrail.data.degradations import Degradation
from vitrail.data.degradations._range import Share
from vitrail.types import Config as PartConfig

Mask = npt.NDArray[np.bool_]  # (*S), true where hidden


class Config(PartConfig):
    """What is hidden, and how much of it."""

    kind: Literal["box", "patches"] = Field("box", description="boxes of random shape, or patches of a regular grid")
    share: Share = Field((0.1, 0.4), description="share of the picture to hide, drawn evenly from this range")
    boxes: int = Field(1, ge=1, description="boxes among which the share is divided; they may overlap")
    patch: int = Field(1, ge=1, description="side of the patches; 1: single pixels")
    fill: float = Field(0.5, ge=0, le=1, description="value put in place of what is hidden")

    def build(self) -> Degradation:
        return partial(masked, config=self)


def masked(x: Tensor, rngs: Sequence[np.random.Generator], config: Config) -> Tensor:
    """x (B, C, *S) with `fill` where each sample's own mask hides it, in all channels."""
    hidden = np.stack([mask(x.shape[2:], rng, config) for rng in rngs])
    return x.masked_fill(torch.from_numpy(hidden).to(x.device)[:, None], config.fill)


def mask(space: Sequence[int], rng: np.random.Generator, config: Config) -> Mask:
    """One random mask over the space axes."""
    share = rng.uniform(*config.share)
    if config.kind == "patches":
        return _patches(space, rng, share, config.patch)
    hidden = np.zeros(space, dtype=bool)
    for _ in range(config.boxes):
        hidden[_box(space, rng, share / config.boxes)] = True
    return hidden


def _box(space: Sequence[int], rng: np.random.Generator, share: float) -> tuple[slice, ...]:
    """A box over about `share` of the space: the logarithms of its sides divide that of the share at random."""
    parts = rng.dirichlet(np.full(len(space), 4.0))
    sides = [min(size, max(1, round(size * share**part))) for size, part in zip(space, parts, strict=True)]
    starts = [int(rng.integers(size - side + 1)) for size, side in zip(space, sides, strict=True)]
    return tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))


def _patches(space: Sequence[int], rng: np.random.Generator, share: float, side: int) -> Mask:
    """Exactly the wanted share of the patches, chosen at random."""
    cells = tuple(-(-size // side) for size in space)
    count = int(np.prod(cells))
    hidden = np.zeros(count, dtype=bool)
    hidden[rng.permutation(count)[: round(share * count)]] = True
    grid = hidden.reshape(cells)
    for axis in range(len(space)):
        grid = grid.repeat(side, axis)
    return grid[tuple(slice(size) for size in space)]
