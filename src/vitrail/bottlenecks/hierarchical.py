"""Vector quantization on two or three grids, each half as fine as the next: what is large on the coarse one, detail on the fine.

The encoder gives the finest grid only; the bottleneck makes the others of it. With two grids:

    h (B, width, *S) -> halve -> codes of the coarse grid (*S/2) -> double -> up (B, C, *S)
    h and up -> codes of the fine grid (*S);   z = fine codes' values and up

All codes lie on the coarsest grid: a finer one gives each of its points a block of codes, row by row, as more levels. So a prior
reads them from coarse to fine at each point.

Source: Razavi et al. 2019, "Generating diverse high-fidelity images with VQ-VAE-2"; halving and doubling are pointwise here, since
the encoder and the decoder around them have convolutions enough.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

import torch
from pydantic import Field
from torch import Tensor, nn

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise, use
from vitrail.bottlenecks._codebook import Codebook, Learning, passed
from vitrail.errors import UsageError
from vitrail.networks.convolution import depth_to_space, space_to_depth
from vitrail.types import Latent


class Config(Learning):
    """Vector quantization on two or three grids."""

    size: int = Field(512, ge=1, description="K, number of codes per grid")
    channels: int = Field(16, ge=1, description="dimensions in which codes are compared; the latent has twice as many")
    grids: int = Field(2, ge=2, le=3, description="grids of codes, each half as fine as the next along every axis")
    axes: int = Field(2, ge=0, le=3, description="space axes of the latent: 2 for pictures, 0 with network=mlp")

    def build(self, width: int) -> Bottleneck:
        return HierarchicalQuantizer(self, width)


class HierarchicalQuantizer(Bottleneck):
    """h (B, width, *S) -> z (B, 2 C, *S), codes (B, Q, *S / factor); grids are numbered from the coarsest."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config, self.size, self.channels = config, config.size, 2 * config.channels
        self.factor = 2 ** (config.grids - 1)
        self.blocks = [2 ** (grid * config.axes) for grid in range(config.grids)]  # codes of a grid per coarsest point
        self.levels = sum(self.blocks)
        finer, corners, own = config.grids - 1, 2**config.axes, config.channels
        self.down = nn.ModuleList(_mlp(corners * width, width, width) for _ in range(finer))
        self.up = nn.ModuleList(_mlp(own * (1 + (grid > 0)), width, corners * own) for grid in range(finer))
        self.project = nn.ModuleList(Pointwise(width + own * (grid > 0), own) for grid in range(config.grids))
        self.books = nn.ModuleList(Codebook(config.size, own, config) for _ in range(config.grids))

    def squeeze(self, h: Tensor) -> Latent:
        terms, stats, grids = [], [], []
        above: list[Tensor] = []  # what the coarser grids say, brought to this one; nothing at the coarsest
        for grid, features in enumerate(self._pyramid(h)):
            vectors = self.project[grid](torch.cat([features, *above], 1)).movedim(1, -1)  # (B, *S_g, C)
            index, values = self.book(grid)(vectors)
            terms.append(self.book(grid).terms(vectors, values))
            stats.append(use(index.unsqueeze(1), self.size))
            grids.append(space_to_depth(index.unsqueeze(1), 2**grid))  # (B, Q_g, *S / factor)
            passing = passed(vectors, values, self.config) if self.training else values
            z = torch.cat([passing.movedim(-1, 1), *above], 1)
            above = self._doubled(z, grid)
        return Latent(z, torch.cat(grids, 1), _over_grids(terms, torch.sum), _over_grids(stats, torch.mean))

    def values(self, codes: Tensor) -> Tensor:
        above: list[Tensor] = []
        for grid, part in enumerate(codes.split(self.blocks, 1)):
            index = depth_to_space(part, 2**grid).squeeze(1)  # (B, *S_g)
            z = torch.cat([self.book(grid).values(index).movedim(-1, 1), *above], 1)
            above = self._doubled(z, grid)
        return z

    def book(self, grid: int) -> Codebook:
        """The codebook of a grid."""
        book = self.books[grid]
        assert isinstance(book, Codebook)
        return book

    def codebook(self, level: int = 0) -> Tensor:
        return self.book(bisect_right(list(accumulate(self.blocks)), level)).table()

    def after_step(self) -> None:
        """A grid learns from the step after the coarser one has started: until then its vectors hang on random codes."""
        ready = True
        for grid in range(len(self.books)):
            book = self.book(grid)
            started = not book.random
            if ready:
                book.after_step()
            else:
                book.taken()
            ready = started

    def _pyramid(self, h: Tensor) -> list[Tensor]:
        """h (B, width, *S) -> features of every grid, coarsest first."""
        if h.dim() - 2 != self.config.axes:
            wanted = f"this bottleneck was made for {self.config.axes} space axes"
            raise UsageError(f"{wanted}, the encoder's output has {h.dim() - 2}; set bottleneck.axes={h.dim() - 2}")
        pyramid = [h]
        for down in self.down:
            pyramid.append(down(space_to_depth(pyramid[-1], 2)))
        return pyramid[::-1]

    def _doubled(self, z: Tensor, grid: int) -> list[Tensor]:
        """What the grids up to this one say, for the next finer: [(B, C, *2 S_g)]; at the finest nothing."""
        return [depth_to_space(self.up[grid](z), 2)] if grid < len(self.up) else []


def _mlp(width: int, inside: int, out: int) -> nn.Sequential:
    """Two linear maps of the channels at every point."""
    return nn.Sequential(Pointwise(width, inside), nn.SiLU(), Pointwise(inside, out))


def _over_grids(each: list[dict[str, Tensor]], how: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """The sum or mean over the grids, name by name."""
    return {name: how(torch.stack([values[name] for values in each])) for name in each[0]}
