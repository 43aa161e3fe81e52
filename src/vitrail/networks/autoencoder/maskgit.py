"""The encoder and decoder of MaskGIT's tokenizer: residual blocks without attention, in the layout of the published weights.

    x (B, C, H, W) -> conv -> [blocks, halve] -> ... -> [blocks] -> blocks -> h (B, width, H/16, W/16)
    z (B, D, H/16, W/16) -> conv -> blocks -> [blocks, double] -> ... -> [blocks] -> (B, outputs, H, W)

Halving averages, doubling repeats. Unlike everything else here it works on pictures in [0, 1]: the codec's [-1, 1] is brought there
on the way in and back on the way out, and not clipped between.
Source: Chang et al. 2022, "MaskGIT: Masked generative image transformer"; names and layout as in open-muse and 1d-tokenizer.
"""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field, PositiveInt, field_validator
from torch import Tensor, nn

from vitrail.networks.convolution import CONV, MEAN, GroupNorm, axes
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

GROUPS = 32  # of every norm, which keep channels apart


class Config(PartConfig):
    """MaskGIT's convolutional encoder-decoder pair."""

    widths: tuple[PositiveInt, ...] = Field(
        (128, 128, 256, 256, 512),
        min_length=1,
        description="channels of each level, finest first, multiples of 32; each halves",
    )
    blocks: int = Field(2, ge=1, description="residual blocks per level, and of the middle")

    @field_validator("widths")
    @classmethod
    def _in_groups(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if any(width % GROUPS for width in widths):
            raise ValueError(f"widths {widths} must be multiples of {GROUPS}, the groups of the norms")
        return widths

    @property
    def stride(self) -> int:
        """Input values per latent point along one axis."""
        return 1 << (len(self.widths) - 1)

    def fitted(self, spec: DataSpec) -> Config:
        """Nothing is left open."""
        return self

    def encoder(self, spec: DataSpec) -> Encoder:
        return Encoder(self, spec.channels, axes(spec, "use network=mlp"))

    def decoder(self, spec: DataSpec, channels: int, outputs: int) -> Decoder:
        """From latents of `channels` to `outputs` values a point."""
        return Decoder(self, channels, outputs, axes(spec, "use network=mlp"))


class Encoder(nn.Module):
    """(B, C, *S) in [-1, 1] -> (B, width, *S / stride); the published last convolution is the bottleneck's linear map."""

    def __init__(self, config: Config, channels: int, dims: int) -> None:
        super().__init__()
        self.width = config.widths[-1]
        self.conv_in = CONV[dims](channels, config.widths[0], 3, padding=1, bias=False)
        pairs = zip((config.widths[0], *config.widths), config.widths, strict=False)
        self.down = nn.ModuleList(
            Level(inner, outer, config.blocks, dims, halve=level < len(config.widths) - 1)
            for level, (inner, outer) in enumerate(pairs)
        )
        self.mid = nn.Sequential(*(Block(self.width, self.width, dims) for _ in range(config.blocks)))
        self.norm_out = _norm(self.width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in((x + 1) / 2)
        for level in self.down:
            h = level(h)
        return F.silu(self.norm_out(self.mid(h)))


class Decoder(nn.Module):
    """(B, D, *S / stride) -> (B, outputs, *S); levels are numbered from the finest, and run from the coarsest."""

    def __init__(self, config: Config, channels: int, outputs: int, dims: int) -> None:
        super().__init__()
        widths = config.widths
        self.conv_in = CONV[dims](channels, widths[-1], 3, padding=1)
        self.mid = nn.Sequential(*(Block(widths[-1], widths[-1], dims) for _ in range(config.blocks)))
        pairs = zip((*widths[1:], widths[-1]), widths, strict=True)
        self.up = nn.ModuleList(
            Level(inner, outer, config.blocks, dims, double=level > 0) for level, (inner, outer) in enumerate(pairs)
        )
        self.norm_out = _norm(widths[0])
        self.conv_out = CONV[dims](widths[0], outputs, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        return 2 * self.conv_out(F.silu(self.norm_out(h))) - 1

    @property
    def last(self) -> Tensor:
        """The weight of the last layer."""
        return self.conv_out.weight


class Level(nn.Module):
    """Blocks, then half or twice as many points along every axis, or as many."""

    def __init__(
        self, inner: int, outer: int, blocks: int, dims: int, halve: bool = False, double: bool = False
    ) -> None:
        super().__init__()
        self.halves, self.doubles, self.dims = halve, double, dims
        self.block = nn.Sequential(*(Block(outer if i else inner, outer, dims) for i in range(blocks)))
        if double:
            self.upsample_conv = CONV[dims](outer, outer, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.block(x)
        if self.halves:
            return MEAN[self.dims](h, 2)
        return self.upsample_conv(F.interpolate(h, scale_factor=2.0, mode="nearest")) if self.doubles else h


class Block(nn.Module):
    """h + x, with h = conv(silu(norm(conv(silu(norm(x)))))).

    Where the width changes, published weights want h + linear(h): the input itself is not passed on.
    """

    def __init__(self, inner: int, outer: int, dims: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(inner), CONV[dims](inner, outer, 3, padding=1, bias=False)
        self.norm2, self.conv2 = _norm(outer), CONV[dims](outer, outer, 3, padding=1, bias=False)
        self.widens = inner != outer
        if self.widens:
            self.nin_shortcut = CONV[dims](outer, outer, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(h) if self.widens else x)


def _norm(width: int) -> nn.GroupNorm:
    return GroupNorm(GROUPS, width, eps=1e-6)
