"""A convolutional denoiser that looks at maps at several scales; over 1 to 3 space axes.

Data flow with two levels and one block each; every arrow down to the same line is a skip:

    z (B, inputs, *S) -> conv ---> [block] ----> halve -> [block] -> middle -> [block][block] -> double -> [block][block] -> conv
                          |           |            |         |                    ^      ^                    ^      ^
                          |           |            |         +--------------------+      |                    |      |
                          |           |            +-------------------------------------+                    |      |
                          |           +-----------------------------------------------------------------------+      |
                          +------------------------------------------------------------------------------------------+

Over 2 axes it is diffusers' UNet2DModel, module by module, so that its weights can be read there.
Sources: Ho et al. 2020, appendix B; Dhariwal & Nichol 2021, section 3 (adaptive group norm).
"""

from __future__ import annotations

import math
from itertools import pairwise, zip_longest

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.networks.convolution import CONV, GroupNorm, depth_to_space, space_to_depth
from vitrail.networks.denoiser._conditioning import Conditioning
from vitrail.networks.denoiser._denoiser import Denoiser, Ports
from vitrail.networks.denoiser._patches import cropped, padded
from vitrail.networks.denoiser._text import Reading, Words
from vitrail.networks.transformer import attention
from vitrail.types import Config as PartConfig

COARSEST = 8  # points a side that the levels bring a map down to


class Config(PartConfig):
    """A convolutional denoiser with skips, for maps over 1 to 3 space axes."""

    width: int = Field(64, ge=8, multiple_of=2, description="channels of the finest level")
    multipliers: tuple[PositiveInt, ...] | None = Field(
        None,
        min_length=1,
        description="channels of each level as multiples of width, finest first; each level halves. None: 1, 2, 2 and so on, "
        f"as many as bring the map to at most {COARSEST} points a side",
    )
    blocks: int = Field(2, ge=1, description="residual blocks per level on the way down; on the way up one more")
    attention: int = Field(
        8, ge=0, description="self-attention at levels of at most so many points a side, beside the one in the middle"
    )
    scaling: bool = Field(
        True, description="noise level and class scale features (adaptive group norm); false: they are only added"
    )
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="inside the residual blocks; null: the fewer samples, the more",
    )
    patch: int = Field(1, ge=1, description="points a side that are made one before the first convolution")

    def build(self, ports: Ports) -> UNet:
        """For maps of about this size. Raises UsageError where there is no space to convolve over."""
        if len(ports.space) not in CONV:
            raise UsageError(
                f"denoiser=unet wants 1 to 3 space axes, this latent has {len(ports.space)}; use denoiser=mlp"
            )
        return UNet(self, ports)

    def widths(self, space: tuple[int, ...]) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        halvings = max(0, math.ceil(math.log2(max(space) / self.patch / COARSEST)))
        return tuple(self.width * by for by in self.multipliers or (1, *(2,) * halvings))

    def attends(self, space: tuple[int, ...]) -> tuple[bool, ...]:
        """Whether each level has self-attention."""
        side = max(space) / self.patch
        return tuple(math.ceil(side / 2**level) <= self.attention for level in range(len(self.widths(space))))


class UNet(Denoiser):
    """(B, inputs, *S) -> (B, outputs, *S) for any S."""

    def __init__(self, config: Config, ports: Ports) -> None:
        super().__init__()
        space = ports.space
        dims, widths, attends = len(space), config.widths(space), config.attends(space)
        self.config, self.space, self.patch = config, space, config.patch
        inside = config.patch**dims
        style = Style(config, dims, widths, attends, ports.tokens > 0)
        self.groups, self.head = style.groups, style.head
        self.conditioning = Conditioning(widths[0], style.told, ports)
        self.conv_in = CONV[dims](ports.inputs * inside, widths[0], 3, padding=1)
        last = len(widths) - 1
        self.down_blocks = nn.ModuleList(
            Down(style, before, width, attends[level], level < last)
            for level, (before, width) in enumerate(pairwise((widths[0], *widths)))
        )
        self.mid_block = Middle(style, widths[-1])
        self.up_blocks = nn.ModuleList(
            Up(style, widths[min(level + 1, last)], widths[level], widths[max(level - 1, 0)], attends[level], level > 0)
            for level in range(last, -1, -1)
        )
        self.conv_norm_out = style.norm(widths[0])
        self.conv_out = CONV[dims](widths[0], ports.outputs * inside, 3, padding=1)
        _zero(self.conv_out)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.data = _channels_last(layer.weight.data)

    def read(self, text: Tensor) -> Words | None:
        return self.conditioning.read(text)

    def forward(self, z: Tensor, told: Tensor, label: Tensor, text: Tensor | Words | None = None) -> Tensor:
        vector, words = self.conditioning(told, label, text)
        seen = F.silu(vector)
        x = _channels_last(self.conv_in(space_to_depth(padded(z, self.patch), self.patch)))
        skips = [x]
        for down in self.down_blocks:
            x = down(x, seen, words, skips)
        x = self.mid_block(x, seen, words)
        for up in self.up_blocks:
            x = up(x, seen, words, skips)
        out = depth_to_space(self.conv_out(_silu(self.conv_norm_out(x))), self.patch)
        return cropped(out, z.shape[2:]).contiguous()


class Style:
    """What all layers of one net have in common."""

    def __init__(
        self, config: Config, dims: int, widths: tuple[int, ...], attends: tuple[bool, ...], reads: bool
    ) -> None:
        self.config, self.dims, self.reads = config, dims, reads
        self.told = 4 * widths[0]  # width of what all layers are told
        # One number for all levels, since diffusers has one: groups of at least 8 channels.
        most = min(32, max(1, min(widths) // 8))
        self.groups = next(n for n in range(most, 0, -1) if math.gcd(*widths) % n == 0)
        mixed = math.gcd(widths[-1], *(width for width, attend in zip(widths, attends, strict=True) if attend))
        head = math.gcd(64, mixed)
        self.head = head if head >= 16 else mixed  # channels

    def norm(self, width: int) -> Norm:
        return Norm(self.groups, width, eps=1e-6)


class Norm(GroupNorm):
    """Group norm in the layout it gets where that is float32: only bf16 is worth the copies."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.GroupNorm.forward(self, x) if x.dtype == torch.float32 else super().forward(x)


class Down(nn.Module):
    """Residual blocks, each with attention after it where asked for, then half the sides. Leaves all it makes in `skips`."""

    def __init__(self, style: Style, before: int, width: int, attends: bool, halves: bool) -> None:
        super().__init__()
        blocks = style.config.blocks
        self.resnets = nn.ModuleList(Residual(style, width if i else before, width) for i in range(blocks))
        self.attentions = nn.ModuleList(Attention(style, width) for _ in range(blocks if attends else 0))
        self.downsampler = CONV[style.dims](width, width, 3, stride=2, padding=1) if halves else None

    def forward(self, x: Tensor, seen: Tensor, words: Words | None, skips: list[Tensor]) -> Tensor:
        for block, mix in zip_longest(self.resnets, self.attentions):
            x = block(x, seen) if mix is None else mix(block(x, seen), words)
            skips.append(x)
        if self.downsampler is not None:
            x = self.downsampler(x)
            skips.append(x)
        return x


class Middle(nn.Module):
    """Block, attention, block at the coarsest points."""

    def __init__(self, style: Style, width: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Residual(style, width, width) for _ in range(2))
        self.attention = Attention(style, width)

    def forward(self, x: Tensor, seen: Tensor, words: Words | None) -> Tensor:
        return self.resnets[1](self.attention(self.resnets[0](x, seen), words), seen)


class Up(nn.Module):
    """Residual blocks, each reading one skip beside what comes from below, then the sides of the next skip."""

    def __init__(self, style: Style, below: int, width: int, above: int, attends: bool, doubles: bool) -> None:
        super().__init__()
        blocks = style.config.blocks + 1
        entering = [below, *(width,) * (blocks - 1)]
        skipping = [*(width,) * (blocks - 1), above]
        self.resnets = nn.ModuleList(Residual(style, sum(two), width) for two in zip(entering, skipping, strict=True))
        self.attentions = nn.ModuleList(Attention(style, width) for _ in range(blocks if attends else 0))
        self.upsampler = CONV[style.dims](width, width, 3, padding=1) if doubles else None

    def forward(self, x: Tensor, seen: Tensor, words: Words | None, skips: list[Tensor]) -> Tensor:
        for block, mix in zip_longest(self.resnets, self.attentions):
            x = block(torch.cat([x, skips.pop()], dim=1), seen)
            x = x if mix is None else mix(x, words)
        if self.upsampler is not None:
            x = self.upsampler(F.interpolate(x, size=skips[-1].shape[2:], mode="nearest"))
        return x


class Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), where the second norm is moved by what the net is told."""

    def __init__(self, style: Style, before: int, width: int) -> None:
        super().__init__()
        conv = CONV[style.dims]
        self.scaling, self.dropout = style.config.scaling, style.config.dropout or 0.0
        self.norm1, self.conv1 = style.norm(before), conv(before, width, 3, padding=1)
        self.time_emb_proj = nn.Linear(style.told, (1 + self.scaling) * width)
        self.norm2, self.conv2 = style.norm(width), conv(width, width, 3, padding=1)
        self.conv_shortcut = conv(before, width, 1) if before != width else None
        _zero(self.conv2)  # every block starts as the identity

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        h = self.conv1(_silu(self.norm1(x)))
        told = self.time_emb_proj(seen)[(..., *(None,) * (x.dim() - 2))]
        if self.scaling:
            scale, shift = told.chunk(2, dim=1)
            h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        else:
            h = self.norm2(h + told)
        h = self.conv2(F.dropout(_silu(h), self.dropout, self.training))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Attention(nn.Module):
    """Self-attention over all points of a (B, C, *S) map, added to it; then, with captions, what their words say to each point."""

    def __init__(self, style: Style, width: int) -> None:
        super().__init__()
        self.heads = width // style.head
        self.group_norm = style.norm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.norm_read = style.norm(width) if style.reads else None
        self.reading = Reading(width, style.head, style.told) if style.reads else None

    def forward(self, x: Tensor, words: Words | None) -> Tensor:
        tokens = _rows(self.group_norm(x))
        # Each (B, heads, T, C/heads).
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = attention(q, k, v, causal=False).transpose(1, 2).flatten(2)
        x = x + self.out(mixed).transpose(1, 2).reshape(x.shape)
        if self.norm_read is None or self.reading is None or words is None:
            return x
        return x + self.reading(_rows(self.norm_read(x)), words).transpose(1, 2).reshape(x.shape)


def _rows(x: Tensor) -> Tensor:
    """(B, C, *S) -> (B, T, C), a row for each point."""
    return x.flatten(2).transpose(1, 2)


def _silu(x: Tensor) -> Tensor:
    """silu in place of x where no gradient will be asked for."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def _zero(layer: nn.Module) -> None:
    for weight in layer.parameters():
        nn.init.zeros_(weight)


def _channels_last(x: Tensor) -> Tensor:
    """Pictures with channels last in memory, a layout that all layers then keep: 1.4 times as fast on a CPU at 28 x 28 points."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
