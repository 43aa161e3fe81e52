"""A compact residual classifier that trains in minutes on one's own pictures."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu

from vitrail.errors import UsageError
from vitrail.networks.features._interface import FeatureNet
from vitrail.types import Config as PartConfig

SMALLEST = 8  # pixels on the shorter side


class Config(PartConfig):
    """Settings of the small feature net."""

    channels: int = Field(1, ge=1, description="channels of the pictures")
    classes: int = Field(10, ge=2, description="classes it tells apart in training")
    width: int = Field(32, ge=1, description="channels of the first convolution; each stage doubles them")
    stages: int = Field(
        2, ge=1, le=6, description="halvings of the resolution; 2 suits sides up to 32, one more per doubling"
    )

    def build(self) -> Small:
        return Small(self)


class Small(FeatureNet):
    """(B, C, H, W) in [0, 1] -> stem -> `stages` times (halve, residual block) -> mean over space = features -> logits.

    Any size from 8 x 8 up; the features of another size than it was trained on mean little.
    """

    name = "small"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * 2**stage for stage in range(config.stages + 1)]
        self.width, self.widths = widths[-1], tuple(widths)
        self.stem = convolution(config.channels, widths[0])
        stages = [Stage(inner, outer) for inner, outer in pairwise(widths)]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(self.width, config.classes)

    def features(self, x: Tensor) -> Tensor:
        """(B, D).   Raises UsageError as `maps` does."""
        return self.maps(x)[-1].float().mean((2, 3))

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """What stem and stages give.   Raises UsageError on other channels or smaller pictures than it takes."""
        if x.shape[1] != self.config.channels or min(x.shape[2:]) < SMALLEST:
            wanted = f"(B, {self.config.channels}, H, W) of at least {SMALLEST} x {SMALLEST}"
            raise UsageError(f"this feature net wants pictures {wanted}, got {tuple(x.shape)}")
        found = [relu(self.stem(2 * x - 1))]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return tuple(found)

    def logits(self, x: Tensor) -> Tensor:
        """Scores of the classes it was trained on, (B, classes)."""
        return self.classified(self.features(x))

    def classified(self, features: Tensor) -> Tensor:
        """The same from features (B, D)."""
        logits: Tensor = self.head(features)
        return logits


class Stage(nn.Module):
    """Halve the resolution, then one residual block."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.down = convolution(inner, outer, stride=2)
        self.first = convolution(outer, outer)
        self.second = convolution(outer, outer)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.down(x))
        return x + relu(self.second(relu(self.first(x))))


def convolution(inner: int, outer: int, stride: int = 1) -> nn.Sequential:
    """3 x 3 convolution and batch norm."""
    return nn.Sequential(nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outer))
