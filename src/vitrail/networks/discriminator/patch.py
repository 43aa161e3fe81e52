"""Judges every patch of a sample by itself, so it looks at texture: the discriminator of pix2pix and VQGAN.

    x (B, C, H, W) -> halve, width -> halve, 2 width -> conv, 4 width -> logits (B, 1, H/4, W/4)

Source: Isola et al. 2017, "Image-to-image translation with conditional adversarial networks", with group norm for batch norm.
"""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn

from vitrail.networks.convolution import CONV, axes, norm
from vitrail.networks.discriminator._discriminator import Discriminator, Opinion
from vitrail.networks.discriminator._layers import convolution, leaky, padded
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

WIDEST = 8  # times the width of the first layer, at most
FEWEST, DEEPEST = 4, 3  # points along the longest side that are left at least; halvings at most, as in the paper


class Config(PartConfig):
    """A discriminator of patches."""

    width: int = Field(64, ge=1, description="channels of the first layer; each layer doubles them, up to 8 times")
    layers: int | None = Field(
        None,
        ge=0,
        description="layers that halve: the more, the larger the patches. None: as many as leave 4 points along the longest "
        "side, 3 at most",
    )
    norm: bool = Field(False, description="group norm after all layers but the first; slower")

    def build(self, spec: DataSpec) -> Patch:
        """Raises UsageError for data without space axes."""
        dims, layers = axes(spec, "train without a discriminator"), self.layers
        if layers is None:
            layers = min(DEEPEST, (max(*spec.space, FEWEST) // FEWEST).bit_length() - 1)
        return Patch(self, spec.channels, dims, layers)


class Patch(Discriminator):
    """One logit per patch, (B, 1, *S / 2^layers), for any *S; sizes that do not halve are rounded up."""

    def __init__(self, config: Config, channels: int, dims: int, layers: int) -> None:
        super().__init__()
        widths = [config.width * min(WIDEST, 2**level) for level in range(layers + 1)]
        self.stages = nn.ModuleList(
            Stage(inner, outer, dims, halve=level < layers, normalise=config.norm and level > 0)
            for level, (inner, outer) in enumerate(pairwise((channels, *widths)))
        )
        self.head = CONV[dims](widths[-1], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Opinion:
        h, features = 2 * x - 1, []
        for stage in self.stages:
            h = stage(h)
            features.append(h)
        return Opinion(self.head(h), tuple(features))


class Stage(nn.Module):
    """Convolution, group norm where wanted, leaky ReLU.

    Careful: where it halves, the kernel is a multiple of the stride, so that every value counts in equally many sums; otherwise
    the slope that the decoder is sent has a checkerboard (Odena et al. 2016).
    """

    def __init__(self, inner: int, outer: int, dims: int, halve: bool, normalise: bool) -> None:
        super().__init__()
        self.stride, kernel = (2, 4) if halve else (1, 3)
        self.conv = convolution(dims, inner, outer, kernel, self.stride)
        self.norm = norm(outer) if normalise else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return leaky(self.norm(self.conv(padded(x, self.stride))))
