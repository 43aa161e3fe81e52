"""Convolutional encoder and decoder with residual blocks, for sound, pictures, and video or volumes alike.

The same source serves 1, 2 and 3 space axes; only the kind of convolution differs. Data flow with two levels and stride 4:

    x (B, C, H, W) -> patches -> [blocks] -> halve -> [blocks] -> h (B, width, H/4, W/4)
    z (B, D, H/4, W/4) -> conv -> [blocks] -> double -> [blocks] -> patches -> (B, outputs, H, W)

Source: residual blocks of He et al. 2016 in pre-activation order, group norm of Wu & He 2018, as in VQGAN (Esser et al. 2021).
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from vitrail.networks.convolution import (
    CONV,
    Resample,
    Residual,
    SpaceAttention,
    axes,
    depth_to_space,
    norm,
    space_to_depth,
)
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

LARGE = 64  # values along an axis, above which a latent has up to FINE points along it, else up to COARSE
COARSE, FINE = 8, 16

Blocks = int | tuple[int, ...]


class Config(PartConfig):
    """A convolutional encoder-decoder pair."""

    widths: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="channels of each level, finest first; each level halves. None: `finest`, `coarser`, `coarser` and so "
        "on, as many as bring the latent to at most 8 points a side, 16 where the data has more than 64",
    )
    finest: int = Field(64, ge=1, description="channels of the finest level, where `widths` is None")
    coarser: int = Field(128, ge=1, description="channels of every other level, where `widths` is None")
    blocks: Blocks = Field(
        2,
        description="residual blocks per level, of the encoder and of the decoder; a list: level by level, finest first",
    )
    decoder_blocks: Blocks | None = Field(
        None, description="those of the decoder, where it has others; read like `blocks`"
    )
    patch: int = Field(
        2, ge=1, description="side of the patches that the first layer sees as one point; 1: every value"
    )
    attention: bool = Field(False, description="one self-attention at the coarsest level")
    dropout: float = Field(0.0, ge=0, lt=1, description="inside the residual blocks")

    @field_validator("blocks", "decoder_blocks")
    @classmethod
    def _none_is_negative(cls, blocks: Blocks | None) -> Blocks | None:
        listed = blocks if isinstance(blocks, tuple) else (blocks or 0,)
        if not listed or min(listed) < 0:
            raise ValueError(f"residual blocks are counted, 0 or more for every level, got {blocks}")
        return blocks

    @property
    def levels(self) -> tuple[int, ...]:
        """The widths, which `fitted` has filled in where the user left them open."""
        assert self.widths is not None
        return self.widths

    @property
    def stride(self) -> int:
        """Input values per latent point along one axis."""
        return self.patch * 2 ** (len(self.levels) - 1)

    def fitted(self, spec: DataSpec) -> Config:
        """With everything that depends on the size of the data filled in."""
        if self.widths is not None:
            return self
        largest = max(spec.space, default=1)
        most = FINE if largest > LARGE else COARSE
        halvings = max(0, math.ceil(math.log2(largest / self.patch / most)))
        return self.model_copy(update={"widths": (self.finest, *(self.coarser,) * halvings)})

    def depths(self, decoder: bool = False) -> tuple[int, ...]:
        """Residual blocks of each level, finest first."""
        blocks = self.decoder_blocks if decoder and self.decoder_blocks is not None else self.blocks
        listed = (blocks,) if isinstance(blocks, int) else blocks
        return (*listed, *listed[-1:] * len(self.levels))[: len(self.levels)]

    def encoder(self, spec: DataSpec) -> Encoder:
        return Encoder(self, spec.channels, axes(spec, "use network=mlp"))

    def decoder(self, spec: DataSpec, channels: int, outputs: int) -> Decoder:
        """From latents of `channels` to `outputs` values a point."""
        return Decoder(self, channels, outputs, axes(spec, "use network=mlp"))


class Encoder(nn.Module):
    """(B, C, *S) -> (B, width, *S / stride); every axis must be a multiple of the stride."""

    def __init__(self, config: Config, channels: int, dims: int) -> None:
        super().__init__()
        self.patch, widths = config.patch, config.levels
        self.width = widths[-1]
        self.stem = CONV[dims](channels * config.patch**dims, widths[0], 3, padding=1)
        layers: list[nn.Module] = []
        for level, (width, depth) in enumerate(zip(widths, config.depths(), strict=True)):
            if level:
                layers.append(Resample(widths[level - 1], width, dims, down=True))
            layers += [Residual(width, dims, config.dropout) for _ in range(depth)]
        if config.attention:
            layers.append(SpaceAttention(self.width))
        self.layers = nn.Sequential(*layers, norm(self.width))

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.layers(self.stem(space_to_depth(x, self.patch))))


class Decoder(nn.Module):
    """(B, D, *S / stride) -> (B, outputs, *S)."""

    def __init__(self, config: Config, channels: int, outputs: int, dims: int) -> None:
        super().__init__()
        self.patch, widths = config.patch, config.levels[::-1]
        self.stem = CONV[dims](channels, widths[0], 3, padding=1)
        layers: list[nn.Module] = [SpaceAttention(widths[0])] if config.attention else []
        for level, (width, depth) in enumerate(zip(widths, config.depths(decoder=True)[::-1], strict=True)):
            if level:
                layers.append(Resample(widths[level - 1], width, dims, down=False))
            layers += [Residual(width, dims, config.dropout) for _ in range(depth)]
        self.layers = nn.Sequential(*layers, norm(widths[-1]))
        self.head = CONV[dims](widths[-1], outputs * config.patch**dims, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        return depth_to_space(self.head(F.silu(self.layers(self.stem(z)))), self.patch)

    @property
    def last(self) -> Tensor:
        """The weight of the last layer."""
        return self.head.weight
