"""The encoder and decoder of VQGAN and of latent diffusion, so that models trained elsewhere can be used here, and the other way.

Data flow with two levels and stride 2:

    x (B, C, H, W) -> conv -> [blocks] -> halve -> [blocks] -> middle -> conv -> h (B, width, H/2, W/2)
    z (B, D, H/2, W/2) -> two convs -> middle -> [blocks + 1] -> double -> [blocks + 1] -> conv -> (B, outputs, H, W)

Modules are named as in diffusers' AutoencoderKL, so that names of weights need next to no translation. The 1x1 convolution between
encoder and latent (there `quant_conv`) is the bottleneck's projection; the one after the latent belongs to the decoder here.
Sources: Esser et al. 2021, "Taming transformers for high-resolution image synthesis", table 7; Rombach et al. 2022, appendix E.1.
"""

from __future__ import annotations

import math
from itertools import pairwise, zip_longest
from typing import Self

import torch.nn.functional as F
from pydantic import Field, PositiveInt, ValidationError, model_validator
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.networks.convolution import GroupNorm
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

LARGE = 64  # values along an axis, above which a latent has up to FINE points along it, else up to COARSE
COARSE, FINE = 8, 16


class Config(PartConfig):
    """The encoder-decoder pair of VQGAN and latent diffusion, for pictures."""

    widths: tuple[PositiveInt, ...] | None = Field(
        None,
        min_length=1,
        description="channels of each level, finest first; each level halves. None: 64, 128, 128 and so on, as many as "
        "bring the latent to at most 8 points a side, 16 where the data has more than 64",
    )
    blocks: int = Field(2, ge=1, description="residual blocks per level of the encoder; the decoder has one more")
    attention: tuple[int, ...] = Field(
        (), description="levels with self-attention after each block, counted from 0, the finest"
    )
    decoder_attention: tuple[int, ...] | None = Field(
        None, description="the same levels of the decoder; None: those of the encoder"
    )
    middle_attention: bool = Field(True, description="self-attention between the two blocks at the coarsest points")
    channels: int | None = Field(
        None, ge=1, description="channels that the decoder begins with; None: as many as the coarsest level"
    )
    double: bool = Field(
        False, description="the encoder puts out twice as many: mean and variance, as latent diffusion's KL models do"
    )
    stem: int | None = Field(
        None, ge=1, description="channels of the encoder's first convolution; None: those of the finest level"
    )
    groups: int = Field(32, ge=1, description="groups of each group norm; every width must be a multiple")
    dropout: float = Field(0.0, ge=0, lt=1, description="inside the residual blocks")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for width in (*(self.widths or ()), *([self.stem] if self.stem else [])):
            if width % self.groups:
                raise ValueError(f"width {width} is not a multiple of groups={self.groups}")
        if self.widths is not None:
            for level in (*self.attention, *(self.decoder_attention or ())):
                if not 0 <= level < len(self.widths):
                    raise ValueError(f"attention at level {level}, but levels go from 0 to {len(self.widths) - 1}")
        return self

    @property
    def levels(self) -> tuple[int, ...]:
        """The widths, which `fitted` has filled in where the user left them open."""
        assert self.widths is not None
        return self.widths

    @property
    def stride(self) -> int:
        """Input values per latent point along one axis."""
        return int(2 ** (len(self.levels) - 1))

    @property
    def entry(self) -> int:
        """Channels that the decoder begins with."""
        return self.channels or self.levels[-1]

    def fitted(self, spec: DataSpec) -> Config:
        """With everything that depends on the size of the data filled in. Raises UsageError where that does not fit the rest."""
        if self.widths is not None:
            return self
        largest = max(spec.space, default=1)
        halvings = max(0, math.ceil(math.log2(largest / (FINE if largest > LARGE else COARSE))))
        fitted = {**self.model_dump(), "widths": (64, *(128,) * halvings)}
        try:
            return Config.model_validate(fitted)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise UsageError(f"network.widths is left open and becomes {fitted['widths']}: {reason}") from None

    def encoder(self, spec: DataSpec) -> Encoder:
        _check(spec)
        return Encoder(self, spec.channels)

    def decoder(self, spec: DataSpec, channels: int, outputs: int) -> Decoder:
        """From latents of `channels` to `outputs` values a point."""
        _check(spec)
        return Decoder(self, channels, outputs)


class Encoder(nn.Module):
    """(B, C, H, W) -> (B, width, H / stride, W / stride); both sides must be a multiple of the stride."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        widths, blocks = config.levels, config.blocks
        stem, last = config.stem or widths[0], len(widths) - 1
        self.width = config.entry * (2 if config.double else 1)
        self.conv_in = nn.Conv2d(channels, stem, 3, padding=1)
        self.down_blocks = nn.ModuleList(
            Level(config, before, width, blocks, level in config.attention, down=level < last)
            for level, (before, width) in enumerate(pairwise((stem, *widths)))
        )
        self.mid_block = Middle(config, widths[-1])
        self.conv_norm_out = _norm(config, widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], self.width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """(B, D, H / stride, W / stride) -> (B, outputs, H, W)."""

    def __init__(self, config: Config, channels: int, outputs: int) -> None:
        super().__init__()
        widths, blocks, last = config.levels, config.blocks + 1, len(config.levels) - 1
        attention = config.attention if config.decoder_attention is None else config.decoder_attention
        self.post_quant_conv = nn.Conv2d(channels, config.entry, 1)
        self.conv_in = nn.Conv2d(config.entry, widths[-1], 3, padding=1)
        self.mid_block = Middle(config, widths[-1])
        self.up_blocks = nn.ModuleList(
            Level(config, before, width, blocks, last - i in attention, up=i < last)
            for i, (before, width) in enumerate(pairwise((widths[-1], *widths[::-1])))
        )
        self.conv_norm_out = _norm(config, widths[0])
        self.conv_out = nn.Conv2d(widths[0], outputs, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(self.post_quant_conv(z)))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))

    @property
    def last(self) -> Tensor:
        """The weight of the last layer."""
        return self.conv_out.weight


class Level(nn.Module):
    """Residual blocks, each with attention after it where asked for, then half or double the sides."""

    def __init__(
        self,
        config: Config,
        before: int,
        width: int,
        blocks: int,
        attention: bool,
        down: bool = False,
        up: bool = False,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Residual(config, width if i else before, width) for i in range(blocks))
        self.attentions = nn.ModuleList(Attention(config, width) for _ in range(blocks if attention else 0))
        self.downsamplers = nn.ModuleList([Halve(width)] if down else [])
        self.upsamplers = nn.ModuleList([Double(width)] if up else [])

    def forward(self, x: Tensor) -> Tensor:
        for block, mix in zip_longest(self.resnets, self.attentions):
            x = block(x) if mix is None else mix(block(x))
        for resize in (*self.downsamplers, *self.upsamplers):
            x = resize(x)
        return x


class Middle(nn.Module):
    """Block, attention, block at the coarsest points."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Residual(config, width, width) for _ in range(2))
        self.attentions = nn.ModuleList([Attention(config, width)] if config.middle_attention else [])

    def forward(self, x: Tensor) -> Tensor:
        x = self.resnets[0](x)
        for mix in self.attentions:
            x = mix(x)
        return self.resnets[1](x)


class Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))); where the width changes, x is mapped by a 1x1 convolution."""

    def __init__(self, config: Config, before: int, width: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.norm1, self.conv1 = _norm(config, before), nn.Conv2d(before, width, 3, padding=1)
        self.norm2, self.conv2 = _norm(config, width), nn.Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(before, width, 1) if before != width else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.dropout(F.silu(self.norm2(h)), self.dropout, self.training))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Attention(nn.Module):
    """Self-attention with one head over all points of a (B, C, H, W) map, added to it."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.group_norm = _norm(config, width)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)  # (B, T, C)
        q, k, v = (project(tokens).unsqueeze(1) for project in (self.to_q, self.to_k, self.to_v))
        mixed = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        return x + self.to_out(mixed).transpose(1, 2).reshape(x.shape)


class Halve(nn.Module):
    """A convolution with stride 2 over a map that has one more row below and column on the right."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Double(nn.Module):
    """Every point four times, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _norm(config: Config, width: int) -> nn.GroupNorm:
    return GroupNorm(config.groups, width, eps=1e-6)


def _check(spec: DataSpec) -> None:
    if len(spec.space) != 2:
        raise UsageError(
            f"network=ldm wants pictures, with 2 space axes, this has shape {spec.shape}; use network=conv"
        )
