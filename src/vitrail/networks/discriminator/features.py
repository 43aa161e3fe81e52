"""Judges by the hidden layers of a frozen feature net, which knows pictures already: it learns from few and is hard to fool.

    x (B, C, H, W) -> frozen net -> maps -> for each: project, halve to 8 points a side, judge -> logits (B, N)

Source: Sauer et al. 2021, "Projected GANs converge faster", with learnt projections in place of random ones.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vitrail.errors import UsageError
from vitrail.networks.convolution import norm
from vitrail.networks.discriminator._discriminator import Discriminator, Opinion
from vitrail.networks.discriminator._layers import convolution, halvings, leaky, padded
from vitrail.networks.features import FeatureNet, load_fitting
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

MOST = 8  # points along a side at which a head judges, so that all heads have about as many votes


class Config(PartConfig):
    """A discriminator on a feature net."""

    path: str = Field(
        min_length=1,
        description="feature net it looks through: a folder of `vitrail features train`, or a .safetensors file of Inception "
        "or DINOv2",
    )
    width: int = Field(64, ge=1, description="channels of the heads")

    def build(self, spec: DataSpec) -> Features:
        """Reads the file, except on the meta device, where nothing is ever judged.

        Raises UsageError for what are no pictures or none that the net takes, ModelError where it cannot be read.
        """
        if len(spec.space) != 2 or spec.channels not in (1, 3):
            raise UsageError(f"discriminator=features judges grey or RGB pictures, this data has shape {spec.shape}")
        if torch.get_default_device().type == "meta":
            return Features(None, (), self.width)
        net, shapes = load_fitting(self.path, spec.shape)
        return Features(Frozen(net), shapes, self.width)


class Frozen:
    """Holds a net that is no part of who asks it: neither learnt, saved nor copied with them. It follows the data's device."""

    def __init__(self, net: FeatureNet) -> None:
        self.net = net

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen:
        return self

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """The net's maps of x; their slope by x can be differentiated, which fused attention's cannot."""
        if next(self.net.parameters()).device != x.device:
            self.net.to(x.device)
        with sdpa_kernel(SDPBackend.MATH):
            return self.net.maps(x)


class Features(Discriminator):
    """The logits of all heads, (B, N). `shapes`: (C, h, w) of each map."""

    def __init__(self, net: Frozen | None, shapes: tuple[tuple[int, ...], ...], width: int) -> None:
        super().__init__()
        self.net = net
        self.heads = nn.ModuleList(Head(channels, width, halvings(max(space), MOST)) for channels, *space in shapes)

    def forward(self, x: Tensor) -> Opinion:
        assert self.net is not None, "built on the meta device"
        opinions = [head(found) for head, found in zip(self.heads, self.net.maps(x), strict=True)]
        features, logits = zip(*opinions, strict=True)
        return Opinion(torch.cat(logits, dim=1), features)


class Head(nn.Module):
    """A map (B, C, h, w), whatever its scale -> hidden layer (B, width, h', w') and logits (B, h' * w')."""

    def __init__(self, channels: int, width: int, halves: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.project = convolution(2, channels, width, kernel=1)
        self.halves = nn.ModuleList(convolution(2, width, width, kernel=4, stride=2) for _ in range(halves))
        self.last = convolution(2, width, width)
        self.judge = nn.Conv2d(width, 1, 1)

    def forward(self, found: Tensor) -> tuple[Tensor, Tensor]:
        h = leaky(self.project(self.norm(found)))
        for halve in self.halves:
            h = leaky(halve(padded(h, 2)))
        h = leaky(self.last(h))
        return h, self.judge(h).flatten(1)
