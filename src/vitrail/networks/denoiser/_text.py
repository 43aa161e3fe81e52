"""What a denoiser is told in words: bytes of a text -> vectors that it looks at, and their mean.

Data flow:

    text (B, T) -> bytes embedded behind a beginning (B, 1 + T, D) -> DEPTH transformer blocks -> norm -> what Reading looks at
                                                                                                  +-> mean -> linear (B, D)

The beginning is always there, so a text of nothing has something to look at too, which is how its absence is learnt.
Bytes as tokens: Xue et al. 2022 (ByT5); words looked at by cross-attention: Rombach et al. 2022, section 3.3.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.networks.rms_norm import RMSNorm, unit
from vitrail.networks.transformer import Block, attention, rotary
from vitrail.types import NO_BYTE

DEPTH = 2
LONGEST_WAVE = 1000.0  # in bytes, over 2 pi


class Words(NamedTuple):
    """A text as a denoiser has read it."""

    vectors: Tensor  # (B, 1 + T, D)
    there: Tensor  # (B, 1, 1, 1 + T) bool: which of them are of the text
    mean: Tensor  # (B, D)


class TextEncoder(nn.Module):
    """text (B, T) int64, NO_BYTE behind its end -> Words of this width, for texts of up to `tokens` bytes."""

    rotation: Tensor

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        heads = width // math.gcd(width, 64)
        self.byte = nn.Embedding(NO_BYTE + 1, width)  # its last row is the beginning
        self.blocks = nn.ModuleList(Block(width, heads, causal=False, dropout=0.0) for _ in range(DEPTH))
        self.norm = RMSNorm(width)
        self.mean = nn.Linear(width, width)
        nn.init.normal_(self.byte.weight, std=width**-0.5)
        angles = rotary((1 + tokens,), width // heads, base=LONGEST_WAVE)
        self.register_buffer("rotation", angles, persistent=False)

    def forward(self, text: Tensor) -> Words:
        there = F.pad(text != NO_BYTE, (1, 0), value=True)
        turn, mask = (self.rotation.cos(), self.rotation.sin()), there[:, None, None]
        x = self.byte(F.pad(text, (1, 0), value=NO_BYTE))
        for block in self.blocks:
            x = block(x, turn, turn, None, 0, mask)
        x = self.norm(x)
        mean = (x * there.unsqueeze(2)).sum(1) / there.sum(1, keepdim=True)
        return Words(x, mask, self.mean(mean))


class Reading(nn.Module):
    """x (B, N, C) -> what the words say to each of its points, (B, N, C); nothing at the start."""

    def __init__(self, width: int, head: int, words: int) -> None:
        super().__init__()
        self.heads = width // head
        self.q, self.kv = nn.Linear(width, width, bias=False), nn.Linear(words, 2 * width, bias=False)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, words: Words) -> Tensor:
        q = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, C/heads)
        k, v = self.kv(words.vectors).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = attention(unit(q), unit(k), v, causal=False, mask=words.there)
        return self.out(mixed.transpose(1, 2).flatten(2))
