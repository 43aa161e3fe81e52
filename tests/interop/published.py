"""VQGAN's autoencoder as published (Esser et al. 2021, table 7), in plain functions over named weights: what ours is judged by.

Two layouts of names: that of taming-transformers and latent diffusion, and that of LlamaGen. Nothing of vitrail is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

GROUPS = 32


@dataclass(frozen=True)
class Shape:
    """What varies between checkpoints."""

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[int, ...] = ()  # levels
    middle: bool = True  # attention in the middle
    z: int = 6  # channels around the latent
    embed: int = 4  # of the latent
    codes: int = 20  # 0: a Gaussian posterior
    pictures: int = 3  # channels


@dataclass
class Layout:
    """Names of one format, and weights under them."""

    shape: Shape
    llamagen: bool = False
    weights: dict[str, Tensor] = field(default_factory=dict)

    def level(self, side: str, i: int) -> str:
        """Prefix of a level, 0 the finest."""
        last = len(self.shape.multipliers) - 1
        if self.llamagen:
            return f"{side}.conv_blocks.{i if side == 'encoder' else last - i}"
        return f"{side}.{'down' if side == 'encoder' else 'up'}.{i}"

    @property
    def block(self) -> str:
        return "res" if self.llamagen else "block"

    def middle(self, side: str) -> tuple[str, str, str]:
        """Prefixes of block, attention, block."""
        names = ("0", "1", "2") if self.llamagen else ("block_1", "attn_1", "block_2")
        first, attention, second = (f"{side}.mid.{name}" for name in names)
        return first, attention, second

    def order(self, side: str) -> Iterator[tuple[int, str]]:
        """Levels as data passes them."""
        levels = range(len(self.shape.multipliers))
        for i in levels if side == "encoder" else reversed(levels):
            yield i, self.level(side, i)


def random(layout: Layout, seed: int = 0) -> dict[str, Tensor]:
    """All weights of a layout, drawn at random."""
    make, shape = Maker(layout.weights, torch.Generator().manual_seed(seed)), layout.shape
    widths = [shape.width * m for m in shape.multipliers]
    for side in ("encoder", "decoder"):
        encoder, blocks = side == "encoder", shape.blocks + (side == "decoder")
        out = shape.z * (1 if shape.codes else 2) if encoder else shape.pictures
        now = shape.width if encoder else widths[-1]
        make.conv(f"{side}.conv_in", shape.pictures if encoder else shape.z, now)
        first, attention, second = layout.middle(side)
        make.block(first, widths[-1], widths[-1])
        make.block(second, widths[-1], widths[-1])
        if shape.middle:
            make.attention(attention, widths[-1])
        for i, level in layout.order(side):
            for j in range(blocks):
                make.block(f"{level}.{layout.block}.{j}", now, widths[i])
                now = widths[i]
                if i in shape.attention:
                    make.attention(f"{level}.attn.{j}", now)
            if encoder and i < len(widths) - 1:
                make.conv(f"{level}.downsample.conv", now, now)
            if not encoder and i > 0:
                make.conv(f"{level}.upsample.conv", now, now)
        make.norm(f"{side}.norm_out", now)
        make.conv(f"{side}.conv_out", now, out)
    double = 1 if shape.codes else 2
    make.conv("quant_conv", double * shape.z, double * shape.embed, 1)
    make.conv("post_quant_conv", shape.embed, shape.z, 1)
    if shape.codes:
        make.weights["quantize.embedding.weight"] = torch.randn(shape.codes, shape.embed, generator=make.generator)
    return make.weights


@dataclass
class Maker:
    """Random layers by name."""

    weights: dict[str, Tensor]
    generator: torch.Generator

    def conv(self, name: str, inner: int, outer: int, side: int = 3) -> None:
        self.weights[f"{name}.weight"] = self._noise(outer, inner, side, side) / (side * inner**0.5)
        self.weights[f"{name}.bias"] = 0.1 * self._noise(outer)

    def norm(self, name: str, width: int) -> None:
        self.weights[f"{name}.weight"] = 1 + 0.1 * self._noise(width)
        self.weights[f"{name}.bias"] = 0.1 * self._noise(width)

    def block(self, name: str, inner: int, outer: int) -> None:
        for i, width in ((1, inner), (2, outer)):
            self.norm(f"{name}.norm{i}", width)
            self.conv(f"{name}.conv{i}", width, outer)
        if inner != outer:
            self.conv(f"{name}.nin_shortcut", inner, outer, 1)

    def attention(self, name: str, width: int) -> None:
        self.norm(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            self.conv(f"{name}.{part}", width, width, 1)

    def _noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)


def conv(w: dict[str, Tensor], name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w[f"{name}.bias"], stride, padding if weight.shape[-1] > 1 else 0)


def norm(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Group norm, written out."""
    batch, width, height, breadth = x.shape
    groups = x.reshape(batch, GROUPS, -1)
    centred = groups - groups.mean(2, keepdim=True)
    scaled = centred / (centred.square().mean(2, keepdim=True) + 1e-6).sqrt()
    weight, bias = w[f"{name}.weight"].view(1, width, 1, 1), w[f"{name}.bias"].view(1, width, 1, 1)
    return scaled.reshape(batch, width, height, breadth) * weight + bias


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def block(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    h = conv(w, f"{name}.conv1", swish(norm(w, f"{name}.norm1", x)))
    h = conv(w, f"{name}.conv2", swish(norm(w, f"{name}.norm2", h)))
    return h + (conv(w, f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in w else x)


def attention(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """softmax(q k / sqrt(C)) v over all points, one head."""
    normed = norm(w, f"{name}.norm", x)
    q, k, v = (conv(w, f"{name}.{part}", normed).flatten(2) for part in "qkv")  # (B, C, T)
    share = torch.softmax(q.transpose(1, 2) @ k / q.shape[1] ** 0.5, dim=2)  # (B, T of q, T of k)
    mixed = (share @ v.transpose(1, 2)).transpose(1, 2).reshape(x.shape)
    return x + conv(w, f"{name}.proj_out", mixed)


def middle(layout: Layout, side: str, x: Tensor) -> Tensor:
    first, attend, second = layout.middle(side)
    x = block(layout.weights, first, x)
    x = attention(layout.weights, attend, x) if layout.shape.middle else x
    return block(layout.weights, second, x)


def through(layout: Layout, side: str, i: int, level: str, x: Tensor) -> Tensor:
    for j in range(layout.shape.blocks + (side == "decoder")):
        x = block(layout.weights, f"{level}.{layout.block}.{j}", x)
        x = attention(layout.weights, f"{level}.attn.{j}", x) if i in layout.shape.attention else x
    return x


def encode(layout: Layout, x: Tensor) -> Tensor:
    """Pictures in [-1, 1] -> what is quantized, or means and log-variances."""
    w, last = layout.weights, len(layout.shape.multipliers) - 1
    x = conv(w, "encoder.conv_in", x)
    for i, level in layout.order("encoder"):
        x = through(layout, "encoder", i, level, x)
        if i < last:  # one row and column of zeros at the far side only
            padded = torch.cat([x, torch.zeros_like(x[:, :, :1])], 2)
            padded = torch.cat([padded, torch.zeros_like(padded[..., :1])], 3)
            x = conv(w, f"{level}.downsample.conv", padded, stride=2, padding=0)
    x = swish(norm(w, "encoder.norm_out", middle(layout, "encoder", x)))
    return conv(w, "quant_conv", conv(w, "encoder.conv_out", x))


def decode(layout: Layout, z: Tensor) -> Tensor:
    """What the quantizer puts out -> pictures around [-1, 1]."""
    w = layout.weights
    x = middle(layout, "decoder", conv(w, "decoder.conv_in", conv(w, "post_quant_conv", z)))
    for i, level in layout.order("decoder"):
        x = through(layout, "decoder", i, level, x)
        if i > 0:
            x = conv(w, f"{level}.upsample.conv", x.repeat_interleave(2, 2).repeat_interleave(2, 3))
    return conv(w, "decoder.conv_out", swish(norm(w, "decoder.norm_out", x)))


def quantize(layout: Layout, h: Tensor, sphere: bool = False) -> tuple[Tensor, Tensor]:
    """The nearest code of each point: values (B, C, H, W) and codes (B, H, W)."""
    table, points = layout.weights["quantize.embedding.weight"], h.movedim(1, -1)
    if sphere:
        table = table / table.norm(dim=1, keepdim=True)
        points = points / points.norm(dim=-1, keepdim=True)
    codes = (points.unsqueeze(-2) - table).square().sum(-1).argmin(-1)
    return table[codes].movedim(-1, 1), codes
