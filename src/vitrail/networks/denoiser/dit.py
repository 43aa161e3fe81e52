"""A transformer denoiser: maps over 1 to 3 space axes as tokens, one per patch.

Data flow, with modulated(x) = norm(x) * (1 + scale) + shift:

    z (B, inputs, *S) -> patches -> linear -> x (B, T, D)
    depth x [x + gate * attention(modulated(x)), then x + gate * mlp(modulated(x))] -> modulated -> linear -> patches put back

Shifts, scales and gates come from the noise level, the class and the mean of a caption's words, and start at zero (adaLN-zero).
Where there are captions, every block looks at their words between attention and mlp.
Sources: Peebles & Xie 2023; rotary positions Su et al. 2021; QK-norm Henry et al. 2020; SwiGLU Shazeer 2020; one adaLN for all
blocks Chen et al. 2024 (PixArt-alpha), section 2.3.
"""

from __future__ import annotations

import math
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.networks.convolution import depth_to_space, space_to_depth
from vitrail.networks.denoiser._conditioning import Conditioning, waves
from vitrail.networks.denoiser._denoiser import Denoiser, Ports
from vitrail.networks.denoiser._patches import cropped, padded
from vitrail.networks.denoiser._text import Reading, Words
from vitrail.networks.rms_norm import rotated_unit, unit
from vitrail.networks.transformer import attention, rotary
from vitrail.types import Config as PartConfig

LONGEST = 16  # tokens a side, at which an open patch aims
Angles = tuple[Tensor, Tensor]  # cosines and sines, each (T, D / heads / 2)


class Config(PartConfig):
    """A transformer denoiser over patches of maps with 1 to 3 space axes."""

    width: int = Field(256, ge=16, multiple_of=16, description="values of each token; heads have up to 64 each")
    depth: int = Field(8, ge=1, description="blocks")
    patch: int | None = Field(
        None,
        ge=1,
        description=f"points a side of a token; None: 1, 2, 4 and so on, for at most {LONGEST} tokens a side",
    )
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="after attention and mlp; null: the fewer samples, the more",
    )
    shared: bool = Field(
        False, description="one adaLN for all blocks, which differ by an offset: a quarter fewer weights"
    )
    classic: bool = Field(
        False,
        description="as published in 2023, which diffusers can read: fixed positions, no QK-norm, GELU instead of SwiGLU",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.classic and self.shared:
            raise ValueError("the classic net has an adaLN in each block: shared=false, or classic=false")
        return self

    def build(self, ports: Ports) -> DiT:
        """For maps of about this size. Raises UsageError where there is no space."""
        if not 1 <= len(ports.space) <= 3:
            raise UsageError(
                f"denoiser=dit wants 1 to 3 space axes, this latent has {len(ports.space)}; use denoiser=mlp"
            )
        return DiT(self, ports)

    def patch_of(self, space: tuple[int, ...]) -> int:
        """Points a side of a token of maps of this size."""
        return self.patch or 2 ** max(0, math.ceil(math.log2(max(space) / LONGEST)))

    @property
    def heads(self) -> int:
        """Heads of 64 values, or of as many as divide the width."""
        return self.width // math.gcd(self.width, 64)


class DiT(Denoiser):
    """(B, inputs, *S) -> (B, outputs, *S) for any S; positions are those of the map at hand."""

    def __init__(self, config: Config, ports: Ports) -> None:
        super().__init__()
        self.config, self.space, self.patch = config, ports.space, config.patch_of(ports.space)
        inside, width = self.patch ** len(ports.space), config.width
        self.conditioning = Conditioning(256, width, ports, shift=int(config.classic))
        self.into = nn.Linear(ports.inputs * inside, width)
        self.common = nn.Linear(width, 6 * width) if config.shared else None
        self.blocks = nn.ModuleList(Block(config, ports.tokens > 0) for _ in range(config.depth))
        self.modulation = nn.Linear(width, 2 * width)
        self.last = nn.Linear(width, ports.outputs * inside)
        nn.init.xavier_uniform_(self.into.weight)
        for layer in (self.common, self.modulation, self.last):
            _zero(layer)

    def read(self, text: Tensor) -> Words | None:
        return self.conditioning.read(text)

    def forward(self, z: Tensor, told: Tensor, label: Tensor, text: Tensor | Words | None = None) -> Tensor:
        vector, words = self.conditioning(told, label, text)
        seen = F.silu(vector).unsqueeze(1)  # (B, 1, D)
        patches = space_to_depth(padded(z, self.patch), self.patch)
        x, grid = self.into(patches.flatten(2).transpose(1, 2)), tuple(patches.shape[2:])
        angles = self._angles(grid, x.device)
        if angles is None:
            x = x + self._positions(grid, x.device).to(x.dtype)
        common = None if self.common is None else self.common(seen)
        for block in self.blocks:
            x = block(x, seen if common is None else common, angles, words)
        shift, scale = self.modulation(seen).chunk(2, dim=-1)
        x = self.last(torch.addcmul(shift, _norm(x, self.config.classic), 1 + scale))
        out = depth_to_space(x.transpose(1, 2).unflatten(2, grid), self.patch)
        return cropped(out, z.shape[2:]).contiguous()

    def _angles(self, grid: tuple[int, ...], device: torch.device) -> Angles | None:
        """By which queries and keys turn; None in the classic net."""
        if self.config.classic:
            return None
        turn = rotary(grid, self.config.width // self.config.heads).to(device)
        return turn.cos(), turn.sin()

    def _positions(self, grid: tuple[int, ...], device: torch.device) -> Tensor:
        """(T, D): waves along each axis, the last axis first; a grid of another size covers the same range.

        Where the width cannot be dealt out evenly to the axes, zeros are left at the end.
        """
        share = self.config.width // (2 * len(grid)) * 2
        built = (math.ceil(side / self.patch) for side in self.space)
        lines = (torch.arange(n, device=device) * (known / n) for n, known in zip(grid, built, strict=True))
        places = torch.meshgrid(*lines, indexing="ij")
        found = [waves(place.flatten(), share).roll(share // 2, dims=-1) for place in reversed(places)]  # sines first
        return F.pad(torch.cat(found, dim=-1), (0, self.config.width - share * len(grid)))


class Block(nn.Module):
    """x + gate * attention(modulated(x)), then, with captions, x + reading(norm(x)), then x + gate * mlp(modulated(x))."""

    def __init__(self, config: Config, reads: bool) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.modulation = None if config.shared else nn.Linear(width, 6 * width)
        self.offset = nn.Parameter(torch.zeros(6 * width)) if config.shared else None
        self.qkv = nn.Linear(width, 3 * width, bias=config.classic)
        self.out = nn.Linear(width, width, bias=config.classic)
        # SwiGLU has three matrices instead of two, so it is a third less wide; multiples of 16 are fast.
        hidden = 4 * width if config.classic else math.ceil(8 * width / 3 / 16) * 16
        self.up = nn.Linear(width, hidden if config.classic else 2 * hidden, bias=config.classic)
        self.down = nn.Linear(hidden, width, bias=config.classic)
        for layer in (self.qkv, self.out, self.up, self.down):
            nn.init.xavier_uniform_(layer.weight)
        _zero(self.modulation)
        self.reading = Reading(width, width // config.heads, width) if reads else None

    def forward(self, x: Tensor, seen: Tensor, angles: Angles | None, words: Words | None) -> Tensor:
        """seen: (B, 1, D), or (B, 1, 6 D) from the adaLN of all blocks."""
        moves = seen if self.offset is None else seen + self.offset
        moves = moves if self.modulation is None else self.modulation(moves)
        shift1, scale1, gate1, shift2, scale2, gate2 = moves.chunk(6, dim=-1)
        classic = self.config.classic
        x = torch.addcmul(x, gate1, self._mixed(torch.addcmul(shift1, _norm(x, classic), 1 + scale1), angles))
        if self.reading is not None and words is not None:
            x = x + self._drop(self.reading(_norm(x, classic), words))
        return torch.addcmul(x, gate2, self._mapped(torch.addcmul(shift2, _norm(x, classic), 1 + scale2)))

    def _mixed(self, x: Tensor, angles: Angles | None) -> Tensor:
        """Self-attention."""
        # Each (B, heads, T, D/heads).
        q, k, v = self.qkv(x).unflatten(-1, (3, self.config.heads, -1)).permute(2, 0, 3, 1, 4)
        if angles is not None:
            q, k = rotated_unit(q, *angles), rotated_unit(k, *angles)
        return self._drop(self.out(attention(q, k, v, causal=False).transpose(1, 2).flatten(2)))

    def _mapped(self, x: Tensor) -> Tensor:
        """The fully connected layers."""
        h = self.up(x)
        if self.config.classic:
            return self._drop(self.down(F.gelu(h, approximate="tanh")))
        a, b = h.chunk(2, dim=-1)
        return self._drop(self.down(F.silu(a) * b))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout or 0.0, self.training)


def _norm(x: Tensor, classic: bool) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) if classic else unit(x)


def _zero(layer: nn.Linear | None) -> None:
    if layer is not None:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
