"""Building blocks of convolutional networks over 1 to 3 space axes."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.types import DataSpec

# By number of space axes.
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def axes(spec: DataSpec, instead: str) -> int:
    """Space axes of the data. Raises UsageError that says what to do instead where there are none to convolve over, or too many."""
    if len(spec.space) not in CONV:
        raise UsageError(f"convolutions want data with 1 to 3 space axes, this has shape {spec.shape}; {instead}")
    return len(spec.space)


class GroupNorm(nn.GroupNorm):
    """torch's, in the layout in which its kernel is fast.

    On a CPU that of channels-last bf16 maps is so much slower than that of contiguous ones that two copies pay.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.dtype != torch.bfloat16 or x.dim() != 4 or x.is_contiguous():
            return super().forward(x)
        made: Tensor = _Layout.apply(super().forward(_Layout.apply(x, torch.contiguous_format)), torch.channels_last)
        return made


class _Layout(torch.autograd.Function):
    """Convert a (B, C, H, W) tensor to another memory layout, and its gradient back to the layout of the input.

    An operation that reads a tensor and a gradient of different layouts is several times slower.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layout: torch.memory_format) -> Tensor:
        ctx.layout = torch.contiguous_format if x.is_contiguous() else torch.channels_last
        return x.contiguous(memory_format=layout)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return slope.contiguous(memory_format=ctx.layout), None


def norm(width: int) -> nn.GroupNorm:
    """Group norm with groups of at least 8 channels, 32 at most, as many as divide the width."""
    groups = next(n for n in range(min(32, max(1, width // 8)), 0, -1) if width % n == 0)
    return GroupNorm(groups, width, eps=1e-6)


def space_to_depth(x: Tensor, patch: int) -> Tensor:
    """(B, C, *S) -> (B, C * patch^dims, *S / patch): every patch of space becomes one point."""
    if patch == 1:
        return x
    batch, channels, *space = x.shape
    if len(space) == 2:  # (B, H, p, W, p, C) -> (B, H, W, C, p, p): channels last, as convolutions want them
        parts = x.permute(0, 2, 3, 1).reshape(batch, space[0] // patch, patch, space[1] // patch, patch, channels)
        return parts.permute(0, 1, 3, 5, 2, 4).flatten(3).permute(0, 3, 1, 2)
    split = chain.from_iterable((side // patch, patch) for side in space)
    x = x.reshape(batch, channels, *split)  # (B, C, S1, p, S2, p, ...)
    dims = len(space)
    x = x.permute(0, 1, *range(3, 3 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2))  # (B, C, p, p, ..., S1, S2, ...)
    return x.reshape(batch, channels * patch**dims, *(side // patch for side in space))


def depth_to_space(x: Tensor, patch: int) -> Tensor:
    """The inverse of `space_to_depth`."""
    if patch == 1:
        return x
    batch, channels, *space = x.shape
    dims = len(space)
    if dims == 2:
        parts = x.permute(0, 2, 3, 1).reshape(batch, *space, channels // patch**2, patch, patch)
        return parts.permute(0, 1, 4, 2, 5, 3).flatten(1, 2).flatten(2, 3).permute(0, 3, 1, 2)
    x = x.reshape(batch, channels // patch**dims, *(patch,) * dims, *space)
    interleaved = chain.from_iterable((2 + dims + axis, 2 + axis) for axis in range(dims))
    return x.permute(0, 1, *interleaved).reshape(batch, -1, *(side * patch for side in space))


class Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))): width and space stay."""

    def __init__(self, width: int, dims: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(width), CONV[dims](width, width, 3, padding=1)
        self.norm2, self.conv2 = norm(width), CONV[dims](width, width, 3, padding=1)
        self.dropout = dropout
        nn.init.zeros_(self.conv2.weight)  # every block starts as the identity
        if self.conv2.bias is not None:
            nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = F.dropout(F.silu(self.norm2(h)), self.dropout, self.training)
        return x + self.conv2(h)


class Resample(nn.Module):
    """Halve or double every space axis by regrouping 2^dims points into channels, then a convolution."""

    def __init__(self, width: int, width_out: int, dims: int, down: bool) -> None:
        super().__init__()
        self.down = down
        inside, outside = (width * 2**dims, width_out) if down else (width, width_out * 2**dims)
        self.conv = CONV[dims](inside, outside, 1 if down else 3, padding=0 if down else 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(space_to_depth(x, 2)) if self.down else depth_to_space(self.conv(x), 2)


class SpaceAttention(nn.Module):
    """Self-attention over all points of a (B, C, *S) map, added to it; heads of 64 channels where they divide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // 64) if width % 64 == 0 else 1
        self.norm = norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, T, C)
        # Each (B, heads, T, C/heads).
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, T, C)
        return x + self.out(mixed).transpose(1, 2).reshape(x.shape)
