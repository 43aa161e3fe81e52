"""InceptionV3 as FID uses it: 2048 features, from a weight file in the layout of pt_inception and torch-fidelity.

The layout and arithmetic follow the published definition; it has not yet been run here on the real weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, linear, max_pool2d, relu

from vitrail.networks.features._interface import FeatureNet, to_rgb
from vitrail.types import Config as PartConfig

SIDE = 299  # pixels that the net was trained on
CLASSES = 1008  # of the TensorFlow graph
SQUARE, ROW, COLUMN = (3, 3), (1, 7), (7, 1)  # kernels


class Config(PartConfig):
    """InceptionV3 has no settings: its weights fix everything."""

    def build(self) -> Inception:
        return Inception()


class Inception(FeatureNet):
    """InceptionV3 of the TensorFlow graph of 2015-12-05, with its oddities of pooling and resizing.

    Grey pictures are repeated to RGB, values rounded to 8 bits.
    Source: Szegedy et al. 2016, figure 10; Heusel et al. 2017; names as in torch-fidelity.
    """

    name = "inception"
    width = 2048
    widths = (64, 192, 288, 768, 2048)

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, SQUARE, stride=2, padding=0)
        self.Conv2d_2a_3x3 = Convolution(32, 32, SQUARE, padding=0)
        self.Conv2d_2b_3x3 = Convolution(32, 64, SQUARE)
        self.Conv2d_3b_1x1 = Convolution(64, 80)
        self.Conv2d_4a_3x3 = Convolution(80, 192, SQUARE, padding=0)
        self.Mixed_5b = BlockA(192, pool=32)
        self.Mixed_5c = BlockA(256, pool=64)
        self.Mixed_5d = BlockA(288, pool=64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, narrow=128)
        self.Mixed_6c = BlockC(768, narrow=160)
        self.Mixed_6d = BlockC(768, narrow=160)
        self.Mixed_6e = BlockC(768, narrow=192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, largest=False)
        self.Mixed_7c = BlockE(2048, largest=True)
        self.fc = nn.Linear(2048, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """(B, 2048), the mean over space of the last block."""
        for last in self._layers((to_rgb(x) * 255).round()):  # noqa: B007
            pass  # so that a layer is freed before the next but one
        return last.float().mean((2, 3))

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the last layer of each resolution gives, without the rounding, whose slope is 0."""
        return tuple(self._layers(to_rgb(x) * 255))

    def _layers(self, x: Tensor) -> Iterator[Tensor]:
        """From RGB in [0, 255], the last layer of each resolution."""
        x = (resize_like_tensorflow(x, SIDE) - 128) / 128
        yield (x := self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))  # (B, 64, 147, 147)
        yield (x := self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(max_pool2d(x, 3, 2))))  # (B, 192, 71, 71)
        yield (x := self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(max_pool2d(x, 3, 2)))))  # (B, 288, 35, 35)
        yield (x := self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x))))))  # (B, 768, 17, 17)
        yield self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # (B, 2048, 8, 8)

    def logits(self, x: Tensor) -> Tensor:
        """(B, 1008), without the bias: the inception score is defined so."""
        return self.classified(self.features(x))

    def classified(self, features: Tensor) -> Tensor:
        """The same from features (B, 2048)."""
        return linear(features, self.fc.weight)


class Convolution(nn.Module):
    """Convolution, batch norm, ReLU; padded to keep the size unless told otherwise."""

    def __init__(
        self, inner: int, outer: int, kernel: tuple[int, int] = (1, 1), stride: int = 1, padding: int | None = None
    ) -> None:
        super().__init__()
        around = (kernel[0] // 2, kernel[1] // 2) if padding is None else padding
        self.conv = nn.Conv2d(inner, outer, kernel, stride, around, bias=False)
        self.bn = nn.BatchNorm2d(outer, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.bn(self.conv(x)))


class BlockA(nn.Module):
    """35 x 35: 1 x 1, 5 x 5, double 3 x 3, pooling."""

    def __init__(self, inner: int, pool: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inner, 64)
        self.branch5x5_1 = Convolution(inner, 48)
        self.branch5x5_2 = Convolution(48, 64, (5, 5))
        self.branch3x3dbl_1 = Convolution(inner, 64)
        self.branch3x3dbl_2 = Convolution(64, 96, SQUARE)
        self.branch3x3dbl_3 = Convolution(96, 96, SQUARE)
        self.branch_pool = Convolution(inner, pool)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch1x1(x), wide, double, self.branch_pool(mean_around(x))), dim=1)


class BlockB(nn.Module):
    """35 x 35 -> 17 x 17."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(inner, 384, SQUARE, stride=2, padding=0)
        self.branch3x3dbl_1 = Convolution(inner, 64)
        self.branch3x3dbl_2 = Convolution(64, 96, SQUARE)
        self.branch3x3dbl_3 = Convolution(96, 96, SQUARE, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat((self.branch3x3(x), double, max_pool2d(x, 3, 2)), dim=1)


class BlockC(nn.Module):
    """17 x 17: 7 x 7 convolutions as rows and columns."""

    def __init__(self, inner: int, narrow: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inner, 192)
        self.branch7x7_1 = Convolution(inner, narrow)
        self.branch7x7_2 = Convolution(narrow, narrow, ROW)
        self.branch7x7_3 = Convolution(narrow, 192, COLUMN)
        self.branch7x7dbl_1 = Convolution(inner, narrow)
        self.branch7x7dbl_2 = Convolution(narrow, narrow, COLUMN)
        self.branch7x7dbl_3 = Convolution(narrow, narrow, ROW)
        self.branch7x7dbl_4 = Convolution(narrow, narrow, COLUMN)
        self.branch7x7dbl_5 = Convolution(narrow, 192, ROW)
        self.branch_pool = Convolution(inner, 192)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat((self.branch1x1(x), single, double, self.branch_pool(mean_around(x))), dim=1)


class BlockD(nn.Module):
    """17 x 17 -> 8 x 8."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(inner, 192)
        self.branch3x3_2 = Convolution(192, 320, SQUARE, stride=2, padding=0)
        self.branch7x7x3_1 = Convolution(inner, 192)
        self.branch7x7x3_2 = Convolution(192, 192, ROW)
        self.branch7x7x3_3 = Convolution(192, 192, COLUMN)
        self.branch7x7x3_4 = Convolution(192, 192, SQUARE, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        short = self.branch3x3_2(self.branch3x3_1(x))
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat((short, long, max_pool2d(x, 3, 2)), dim=1)


class BlockE(nn.Module):
    """8 x 8: branches that fan out into a row and a column; the last block of the graph pools the largest value."""

    def __init__(self, inner: int, largest: bool) -> None:
        super().__init__()
        self.largest = largest
        self.branch1x1 = Convolution(inner, 320)
        self.branch3x3_1 = Convolution(inner, 384)
        self.branch3x3_2a = Convolution(384, 384, (1, 3))
        self.branch3x3_2b = Convolution(384, 384, (3, 1))
        self.branch3x3dbl_1 = Convolution(inner, 448)
        self.branch3x3dbl_2 = Convolution(448, 384, SQUARE)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1))
        self.branch_pool = Convolution(inner, 192)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = max_pool2d(x, 3, 1, 1) if self.largest else mean_around(x)
        fans = [self.branch3x3_2a(single), self.branch3x3_2b(single)]
        fans += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat((self.branch1x1(x), *fans, self.branch_pool(pooled)), dim=1)


def mean_around(x: Tensor) -> Tensor:
    """3 x 3 mean of what lies inside the picture; TensorFlow does not count the padding."""
    return avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def resize_like_tensorflow(x: Tensor, side: int) -> Tensor:
    """Bilinear resize of TensorFlow 1: output pixel i reads at i * scale, without half-pixel shift or antialiasing.

    x: (B, C, H, W).   Returns (B, C, side, side).
    """
    for axis in (2, 3):
        length = x.shape[axis]
        place = torch.arange(side, dtype=torch.float64, device=x.device) * (length / side)
        low = place.long().clamp(max=length - 1)
        share = (place - low).to(x.dtype).view(-1, *[1] * (3 - axis))
        before, after = x.index_select(axis, low), x.index_select(axis, (low + 1).clamp(max=length - 1))
        x = before + (after - before) * share
    return x
