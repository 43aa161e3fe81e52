"""Judges a whole sample by one number, through residual blocks without normalisation: the discriminator of StyleGAN2.

    x (B, C, H, W) -> patches -> [residual block, halve] until 4 x 4 -> (scatter of the batch) -> conv -> dense -> logit (B,)

Source: Karras et al. 2020, "Analyzing and improving the image quality of StyleGAN", with the first halving by patches.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn

from vitrail.errors import DataError
from vitrail.networks.convolution import CONV, MEAN, axes, space_to_depth
from vitrail.networks.discriminator._discriminator import Discriminator, Opinion
from vitrail.networks.discriminator._layers import convolution, halvings, leaky, padded, prepared
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

FEWEST = 4  # points along the longest side, where the dense layers take over


class Config(PartConfig):
    """A residual discriminator."""

    width: int = Field(32, ge=1, description="channels at the finest level; each block doubles them")
    widest: int = Field(256, ge=1, description="channels at most")
    patch: int = Field(
        2, ge=1, description="side of the patches that the first layer sees as one point; 1: every value"
    )
    spread: int = Field(
        0,
        ge=0,
        description="tell it how far so many neighbours in a batch differ, against makers of one and the same; it then judges "
        "groups, so a batch cut into rounds should be cut into multiples. 0: every sample by itself",
    )

    def build(self, spec: DataSpec) -> Residual:
        """Raises UsageError for data without space axes."""
        axes(spec, "train without a discriminator")
        return Residual(self, spec)


class Residual(Discriminator):
    """One logit per sample, for samples of one shape. With `spread` it looks at that many consecutive samples together."""

    def __init__(self, config: Config, spec: DataSpec) -> None:
        super().__init__()
        self.shape, self.patch, self.spread = spec.shape, config.patch, config.spread
        dims, points = len(spec.space), [-(-side // config.patch) for side in spec.space]
        blocks = halvings(max(points), FEWEST)
        widths = [min(config.widest, config.width * 2**level) for level in range(blocks + 1)]
        grid = [-(-side // 2**blocks) for side in points]
        wide = widths[-1]
        self.stem = convolution(dims, spec.channels * config.patch**dims, widths[0])
        self.blocks = nn.ModuleList(Down(inner, outer, dims) for inner, outer in pairwise(widths))
        self.last = convolution(dims, wide + (self.spread > 1), wide)
        self.dense = prepared(nn.Linear(wide * math.prod(grid), wide))
        self.head = nn.Linear(wide, 1)

    def forward(self, x: Tensor) -> Opinion:
        """Raises DataError on samples of another shape."""
        if tuple(x.shape[1:]) != self.shape:
            raise DataError(f"this discriminator judges samples of shape {self.shape}, got {tuple(x.shape[1:])}")
        h = leaky(self.stem(space_to_depth(padded(2 * x - 1, self.patch), self.patch)))
        features = [h]
        for block in self.blocks:
            h = block(h)
            features.append(h)
        h = leaky(self.last(with_scatter(h, self.spread) if self.spread > 1 else h))
        h = leaky(self.dense(h.flatten(1)))
        return Opinion(self.head(h).squeeze(1), tuple(features))


class Down(nn.Module):
    """(h + skip) / sqrt(2), both halved by the mean over 2^dims points, so that no value is passed over."""

    def __init__(self, inner: int, outer: int, dims: int) -> None:
        super().__init__()
        self.dims = dims
        self.conv1 = convolution(dims, inner, inner)
        self.conv2 = convolution(dims, inner, outer)
        self.skip = CONV[dims](inner, outer, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = leaky(self.conv2(self.halved(leaky(self.conv1(x)))))
        return (h + self.skip(self.halved(x))) * math.sqrt(0.5)

    def halved(self, x: Tensor) -> Tensor:
        """At an odd end the mean is over what there is."""
        return MEAN[self.dims](x, 2, ceil_mode=True, count_include_pad=False)


def with_scatter(x: Tensor, size: int) -> Tensor:
    """(B, C, *S) -> (B, C + 1, *S): also the standard deviation over each `size` consecutive samples, its mean over C and *S.

    The last group may be smaller.   Source: Karras et al. 2018, "Progressive growing of GANs", section 3.
    """
    groups = x.float().split(size)
    scatters = [(group.var(0, correction=0) + 1e-8).sqrt().mean().expand(len(group)) for group in groups]
    channel = torch.cat(scatters).to(x.dtype).view(-1, *(1,) * (x.dim() - 1))
    return torch.cat((x, channel.expand(-1, 1, *x.shape[2:])), dim=1)
