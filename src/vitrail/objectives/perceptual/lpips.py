"""LPIPS: weighted distance in the hidden layers of VGG16, fitted to what people find alike.

The layouts and the arithmetic follow the published package; it has not yet been run here on the real VGG16.
Source: Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric"; version 0.1 of the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from vitrail.errors import ModelError, UsageError
from vitrail.networks.features._files import fill
from vitrail.networks.vgg import LAYERS, SEEN, Vgg16
from vitrail.objectives.perceptual._layers import unlikeness
from vitrail.objectives.perceptual._perceptual import Perceptual
from vitrail.objectives.perceptual._weights import SCALE, SHIFT, joined, located, read, renamed
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

SMALL, ENLARGED = 32, 64  # pixels: a shorter side below the first is enlarged to the second
TOLD_APART = 0.25  # least distance of unlike pictures in the last layer; VGG16s with random weights reach 0.1


class Config(PartConfig):
    """Grey pictures or RGB. It never runs without weights."""

    usual_weights: ClassVar = {"perceptual": 0.1}

    weights: str = Field(
        min_length=1,
        description="VGG16 with or without the heads: a .safetensors file, or a place on the hub, hf:owner/name or "
        "hf:owner/name:file",
    )
    heads: str = Field("", description="the linear heads, where `weights` does not hold them")
    sha256: str = Field(
        "", pattern="^([0-9a-f]{64})?$", description="of the file `weights`; refused if it differs; empty: not compared"
    )

    def build(self, spec: DataSpec) -> Perceptual:
        """With weights, but on the meta device. Raises UsageError on data it does not suit, ModelError on unfit weights."""
        if len(spec.space) != 2 or spec.channels not in (1, 3):
            raise UsageError(
                f"perceptual=lpips wants grey or RGB pictures, got {spec.shape}; take perceptual=gradient or frequency"
            )
        net = Lpips(Vgg16()) if torch.get_default_device().type == "meta" else loaded(self)
        return net.eval().requires_grad_(False)


class Lpips(Perceptual):
    """Sum over layers of the mean over space of sum_c w_c (f_c(x_hat) - f_c(x))^2, where f is of length 1 at every point.

    Grey pictures are repeated to RGB; those of a shorter side below 32 are enlarged until it is 64, bilinearly, because of
    four poolings and a net that was fitted to patches of 64 x 64.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, vgg: Vgg16) -> None:
        super().__init__()
        self.vgg = vgg
        self.heads = nn.ParameterList(torch.empty(channels // vgg.thinner) for channels in SEEN.values())  # w_c
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            with torch.no_grad():
                real = self.maps(x.float())
            per_layer = [
                (unlikeness(made, seen) * head.view(1, -1, 1, 1)).sum(1).mean((1, 2))
                for made, seen, head in zip(self.maps(x_hat.float()), real, self.heads, strict=True)
            ]
            return torch.stack(per_layer).sum(0)

    def maps(self, x: Tensor) -> list[Tensor]:
        """What the five blocks see of pictures in [0, 1]."""
        if (side := min(x.shape[2:])) < SMALL:
            size = [round(ENLARGED * length / side) for length in x.shape[2:]]
            x = interpolate(x, size, mode="bilinear", align_corners=False)
        maps: list[Tensor] = self.vgg((2 * x.expand(-1, 3, -1, -1) - 1 - self.shift) / self.scale)
        return maps


def loaded(config: Config) -> Lpips:
    """With the weights that a Config names.   Raises ModelError on what is missing, left over, misshapen or untrained."""
    source = located(config.weights)
    weights = renamed(read(source, config.sha256), source)
    if config.heads:
        second = located(config.heads)
        weights = joined(weights, renamed(read(second), second), second)
    elif not any(name.startswith("heads.") for name in weights):
        raise ModelError(
            f"{source} holds no linear heads (lin0.model.1.weight); name their file: perceptual.heads=FILE"
        )
    with torch.device("meta"):  # no time is spent on random numbers, nor is a generator moved on
        vgg = Vgg16(thinner(weights))
    made = Lpips(vgg.to_empty(device="cpu"))
    fill(made, weights, source)
    judge(made, source)
    return made


def thinner(weights: Mapping[str, Tensor]) -> int:
    """By what the first convolution's channels are fewer than VGG16's; 1 where that cannot be told."""
    first = weights.get("vgg.features.0.bias")
    channels = first.numel() if first is not None else 0
    return LAYERS[0] // channels if channels and LAYERS[0] % channels == 0 else 1


@torch.no_grad()
def judge(net: Lpips, source: Path) -> None:
    """Raise ModelError unless the net does what every trained one does, and random or mistaken weights do not.

    No head is negative, unlike pictures lie apart in the last layer, and more noise or blur is further off than less.
    """
    pictures = examples()
    if not all((head >= 0).all() for head in net.heads):
        raise ModelError(
            f"{source}: a linear head of LPIPS has negative or undefined values, which no published one has"
        )
    if not (least := apart(net, pictures["unlike"])) >= TOLD_APART:
        raise ModelError(
            f"{source}: VGG16's last layer hardly tells a drawing from noise ({least:.2g}, trained ones exceed {TOLD_APART}); "
            "its weights are random, or made for another scaling of its input"
        )
    original = pictures["unlike"][:1]
    for change in ("noisy", "blurred"):
        same, little, much = net(torch.cat((original, pictures[change])), original.expand(3, -1, -1, -1)).tolist()
        if not (same == 0 and 0 < little < much):
            raise ModelError(
                f"{source}: little and much {change} are {little:.3g} and {much:.3g} off, which is no distance"
            )


def apart(net: Lpips, pictures: Tensor) -> float:
    """Least mean squared distance in the last layer between any two pictures."""
    last = net.maps(pictures)[-1]
    pairs = combinations(range(len(pictures)), 2)
    return min(unlikeness(last[a, None], last[b, None]).sum(1).mean().item() for a, b in pairs)


def examples() -> dict[str, Tensor]:
    """RGB pictures (B, 3, 64, 64): a drawing, stripes and noise; the drawing with little and much noise and blur."""
    line = torch.linspace(0, 1, ENLARGED)
    y, x = torch.meshgrid(line, line, indexing="ij")
    drawing = torch.stack((x, y, ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1).float()))
    stripes = ((8 * x).floor() % 2).expand(3, -1, -1)
    noise = torch.rand(3, ENLARGED, ENLARGED, generator=torch.Generator().manual_seed(0))
    return {
        "unlike": torch.stack((drawing, stripes, noise)),
        "noisy": torch.stack([(drawing + share * (noise - 0.5)).clamp(0, 1) for share in (0.1, 0.8)]),
        "blurred": torch.stack([avg_pool2d(drawing, side, 1, side // 2, count_include_pad=False) for side in (3, 15)]),
    }
