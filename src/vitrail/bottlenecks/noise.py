"""No bottleneck but no information either: z is noise, whatever the data. What the generator of a GAN reads."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck
from vitrail.errors import UsageError
from vitrail.types import Config as PartConfig


class Config(PartConfig):
    """Standard normal noise."""

    channels: int = Field(64, ge=1, description="numbers of noise that a sample is made of")

    def build(self, width: int) -> Bottleneck:
        """Raises UsageError behind an encoder, all of whose work would be lost."""
        if width:
            raise UsageError("bottleneck=noise lets nothing of an encoder through; it belongs to network=generator")
        return Noise(self.channels)


class Noise(Bottleneck):
    """z ~ N(0, I). Nothing is ever squeezed, as there is no encoder."""

    noisy = True
    unit: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("unit", torch.ones(channels), persistent=False)

    def scale(self) -> Tensor:
        return self.unit
