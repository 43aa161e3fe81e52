"""A transformer over any of a grid's tokens in any order: each knows its place, and a mask says what it reads.

The layers are those of `transformer`; what differs is that neither the order of the tokens nor what they read is fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.networks.transformer import Block, Cache, Turn, rotary


class Scattered(nn.Module):
    """(B, N, D) -> (B, N, D) for N of the T tokens of a grid, whose axes run last axis fastest."""

    rotation: Tensor

    def __init__(
        self, width: int, depth: int, heads: int, grid: tuple[int, ...], *, rotate: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.blocks = nn.ModuleList(Block(width, heads, False, dropout) for _ in range(depth))
        angles = rotary(grid, width // heads)
        angles = torch.cat([angles if rotate else torch.zeros_like(angles), torch.zeros_like(angles[:1])])
        self.register_buffer("rotation", angles, persistent=False)  # (T + 1, D/heads/2)

    def forward(
        self, x: Tensor, places: Tensor, mask: Tensor, *, towards: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """places (N,) or (B, N): where each token lies, T for one that lies nowhere; towards: what it looks at, if not itself.

        mask: bool, broadcast over (B, heads, N, M); which of the first M tokens, those of the cache before these, each one reads.
        A cache is extended by all N; whoever wants to keep fewer sets its length afterwards.
        """
        own = self._turn(places)
        away = own if towards is None else self._turn(towards)
        for layer, block in enumerate(self.blocks):
            x = block(x, away, own, cache, layer, mask)
        if cache:
            cache.length += x.shape[1]
        return x

    def cache(self, batch: int, room: int) -> Cache:
        """An empty cache for `batch` sequences of at most `room` tokens."""
        shape = (batch, self.heads, room, self.width // self.heads)
        like = next(self.parameters())
        return Cache([like.new_empty(shape) for _ in self.blocks], [like.new_empty(shape) for _ in self.blocks])

    def _turn(self, places: Tensor) -> Turn:
        angles = self.rotation[places].unsqueeze(-3)  # the heads' axis
        return angles.cos(), angles.sin()
