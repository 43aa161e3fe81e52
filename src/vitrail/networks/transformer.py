"""A transformer over token sequences that lie on a grid: RMS norm, rotary positions, QK-norm, and an explicit key-value cache.

Sources: RMS norm Zhang & Sennrich 2019; rotary positions Su et al. 2021, split over the axes of the grid; QK-norm Henry et al.
2020; GELU Hendrycks & Gimpel 2016.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vitrail.networks.rms_norm import RMSNorm, rotated_unit

SHORT = 256  # tokens

Turn = tuple[Tensor, Tensor]  # cosines and sines of each token's angles, (..., T, D/heads/2)


@dataclass
class Cache:
    """Keys and values of the tokens seen so far, one pair per layer; made by `Transformer.cache`, filled by its forward."""

    keys: list[Tensor]  # each (B, heads, T_max, D/heads)
    values: list[Tensor]
    length: int = 0  # tokens seen

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, heads, T, D/heads) behind what is there and return all there is."""
        end = self.length + k.shape[2]
        self.keys[layer][:, :, self.length : end] = k
        self.values[layer][:, :, self.length : end] = v
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]


class Transformer(nn.Module):
    """(B, T, D) -> (B, T, D). `grid` names the sizes of the axes that the T tokens run through, last axis fastest.

    They do so `rounds` times: tokens of two rounds that lie at the same place have the same position.
    Without `rotate` it knows no positions; whoever uses it then adds learned ones to its input.
    """

    rotation: Tensor

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        grid: tuple[int, ...],
        *,
        causal: bool,
        rotate: bool = True,
        dropout: float = 0.0,
        rounds: int = 1,
    ) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.blocks = nn.ModuleList(Block(width, heads, causal, dropout) for _ in range(depth))
        angles = rotary(grid, width // heads).repeat(rounds, 1)  # (T, D/heads/2)
        self.register_buffer("rotation", angles if rotate else torch.zeros_like(angles), persistent=False)

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        start = cache.length if cache else 0
        angles = self.rotation[start : start + x.shape[1]]
        turn = angles.cos(), angles.sin()
        for layer, block in enumerate(self.blocks):
            x = block(x, turn, turn, cache, layer)
        if cache:
            cache.length += x.shape[1]
        return x

    def cache(self, batch: int) -> Cache:
        """An empty cache for `batch` sequences."""
        shape = (batch, self.heads, len(self.rotation), self.width // self.heads)
        like = next(self.parameters())
        return Cache([like.new_empty(shape) for _ in self.blocks], [like.new_empty(shape) for _ in self.blocks])


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, causal: bool, dropout: float) -> None:
        super().__init__()
        self.heads, self.causal, self.dropout = heads, causal, dropout
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        nn.init.zeros_(self.out.weight)  # every block starts as the identity
        nn.init.zeros_(self.down.weight)

    def forward(
        self, x: Tensor, away: Turn, own: Turn, cache: Cache | None, layer: int, mask: Tensor | None = None
    ) -> Tensor:
        """Queries are turned by the places they look at, `away`, keys by their own; mask: as in `attention`."""
        # Each (B, heads, T, D/heads).
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = rotated_unit(q, *away), rotated_unit(k, *own)
        if cache:
            k, v = cache.extend(layer, k, v)
        mixed = attention(q, k, v, self.causal, mask)
        x = x + self._drop(self.out(mixed.transpose(1, 2).flatten(2)))
        return x + self._drop(self.down(F.gelu(self.up(self.norm2(x)))))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


def attention(q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention (B, heads, T, D/heads), with plain products for short sequences on a CPU.

    Where causal, the queries stand at the last places of the keys, and each sees its own place and those before. Or a mask says
    which of the first M keys each of them sees: bool, broadcast over (B, heads, T, M).
    On a CPU the backward pass of the fused kernel takes so long that a training step is 1.35 times faster without, at 49 tokens.
    """
    if mask is not None:
        k, v = k[:, :, : mask.shape[-1]], v[:, :, : mask.shape[-1]]
    new, seen = q.shape[2], k.shape[2]
    if causal and 1 < new < seen:
        mask = torch.ones(new, seen, dtype=torch.bool, device=q.device).tril(seen - new)
    plain = q.device.type == "cpu" and new <= SHORT and torch.is_grad_enabled()
    if plain and mask is None:
        return _composed(q, k, v, causal and new == seen)
    with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and new == seen)


def _composed(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Compute attention from matrix products and a softmax. Every query must see at least one key, or its row would be NaN."""
    scores = q @ k.transpose(-1, -2)
    side = scores.shape[-1]
    bias = q.new_full((side, side), -torch.inf).triu(1) if causal else q.new_zeros(())
    return torch.add(bias, scores, alpha=q.shape[-1] ** -0.5).softmax(-1) @ v


def rotary(grid: tuple[int, ...], width: int, base: float = 100.0) -> Tensor:
    """Angles (T, width/2): the frequencies are dealt out in turn to the axes that have more than one place.

    A low base suits grids of tens of points per axis; text of thousands of tokens wants 10000.
    """
    grid = tuple(side for side in grid if side > 1) or (1,)
    axes = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in grid), indexing="ij")
    position = torch.stack([axis.flatten() for axis in axes], dim=1)  # (T, axes)
    pairs = torch.arange(width // 2)
    frequency = base ** -((pairs // len(grid)) / (width / 2 / len(grid)))
    return position[:, pairs % len(grid)] * frequency
