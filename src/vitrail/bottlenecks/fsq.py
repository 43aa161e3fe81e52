"""Finite scalar quantization: every channel is rounded to one of a few values, and a code is the combination.

Source: Mentzer et al. 2023, "Finite scalar quantization: VQ-VAE made simple". The term `evenness` is an addition: a standard normal
through tanh is nearly even (of 5 to 8 values each has 0.8 to 1.3 times an even share), so channels are drawn to one.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise, use
from vitrail.bottlenecks._evenness import unevenness
from vitrail.types import Config as PartConfig
from vitrail.types import Latent

PUBLISHED = {  # table 1 of the paper
    1 << 8: (8, 6, 5),
    1 << 10: (8, 5, 5, 5),
    1 << 12: (7, 5, 5, 5, 5),
    1 << 14: (8, 8, 8, 6, 5),
    1 << 16: (8, 8, 8, 5, 5, 5),
}
USUAL = PUBLISHED[1 << 10]
LARGEST = 1 << 24
FINEST = 256  # values of a channel
EDGE = 1e-3  # by which the outer values' range is wider, so that tanh reaches them


class Config(PartConfig):
    """Finite scalar quantization. The actual number of codes is the product of the levels."""

    usual_weights: ClassVar = {"evenness": 0.03}

    size: int | None = Field(
        None, ge=1, le=LARGEST, description="K, number of codes wanted; levels are chosen that come close"
    )
    levels: tuple[Annotated[int, Field(ge=1, le=FINEST)], ...] | None = Field(
        None,
        min_length=1,
        description="values per channel, in place of size; neither: 8, 5, 5, 5, which makes 1000 codes",
    )

    @model_validator(mode="after")
    def _agree(self) -> Config:
        if self.levels is None:
            return self
        made = math.prod(self.levels)
        if made > LARGEST:
            raise ValueError(f"levels make {made} codes; at most {LARGEST} are possible")
        if self.size not in (None, made) and self.levels != levels_for(self.size):
            raise ValueError(f"levels {self.levels} make {made} codes, but size is {self.size}; give one of the two")
        return self

    def build(self, width: int) -> Bottleneck:
        return FiniteScalar(self, width)


def levels_for(size: int) -> tuple[int, ...]:
    """Levels whose product is near `size`: the paper's where it has some, else the nearest product of levels from 5 to 8.

    Of equals the fewest channels, then the most even levels. Lower levels join in where the nearest is off by more than a tenth.
    """
    if size in PUBLISHED:
        return PUBLISHED[size]
    for least in (5, 4, 3, 2):
        found = _nearest(size, least)
        if abs(math.prod(found) - size) <= size / 10:
            return found
    return (1,)  # size 1


def _nearest(size: int, least: int) -> tuple[int, ...]:
    """Levels from `least` to 8, none larger than the one before, with the product nearest to `size`."""
    most = max(1, math.ceil(math.log(size, least)))
    candidates = itertools.chain.from_iterable(
        itertools.combinations_with_replacement(range(8, least - 1, -1), count) for count in range(1, most + 1)
    )
    return min(candidates, key=lambda levels: (abs(math.prod(levels) - size), len(levels), -levels[-1]))


class FiniteScalar(Bottleneck):
    """h (B, width, *S) -> z (B, C, *S) in [-1, 1], codes (B, 1, *S); the gradient passes straight through, and through tanh.

    The number of a code has channel 0 as its fastest digit.
    """

    levels = 1
    sides: Tensor
    worth: Tensor

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        sides = config.levels or (USUAL if config.size is None else levels_for(config.size))
        self.size, self.channels = math.prod(sides), len(sides)
        self.register_buffer("sides", torch.tensor(sides), persistent=False)  # (C,) values per channel
        worth = [math.prod(sides[:channel]) for channel in range(len(sides))]
        self.register_buffer("worth", torch.tensor(worth), persistent=False)  # (C,) of a digit in a code's number
        self.project = Pointwise(width, self.channels)

    def squeeze(self, h: Tensor) -> Latent:
        vectors = self.project(h).movedim(1, -1)  # (B, *S, C)
        bounded = self._bounded(vectors)
        half = self.sides // 2
        digits = (bounded.round().long() + half).clamp(min=torch.zeros_like(half), max=self.sides - 1)
        codes = (digits * self.worth).sum(-1).unsqueeze(1)
        z = self.values(codes)
        if self.training:
            z = z + ((bounded - bounded.detach()) / half.clamp_min(1)).movedim(-1, 1)
        return Latent(z, codes, {"evenness": unevenness(vectors, everywhere=self.training)}, use(codes, self.size))

    def _bounded(self, vectors: Tensor) -> Tensor:
        """(..., C) -> (..., C) that rounds to -L // 2 ... (L - 1) // 2.  Mentzer et al. 2023, appendix A.1.

        Even L: a shift puts 0 in the middle of a value, but not at L = 2, where it would put the border between the two at -3.8.
        """
        reach = (self.sides - 1) * (1 + EDGE) / 2
        offset = 0.5 * (self.sides % 2 == 0)
        shift = torch.where(self.sides > 2, offset / reach.clamp_min(0.5), 0.0).atanh()
        return (vectors + shift).tanh() * reach - offset

    def values(self, codes: Tensor) -> Tensor:
        return self._points(codes.squeeze(1)).movedim(-1, 1)

    def _points(self, codes: Tensor) -> Tensor:
        """(...) -> (..., C) in [-1, 1]."""
        half = self.sides // 2
        return (codes[..., None] // self.worth % self.sides - half) / half.clamp_min(1)

    def codebook(self, level: int = 0) -> Tensor:
        return self._points(torch.arange(self.size, device=self.sides.device))
