"""No bottleneck but a small number of channels: the plain autoencoder."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise
from vitrail.types import Config as PartConfig
from vitrail.types import Latent


class Config(PartConfig):
    """A linear map to few channels."""

    channels: int = Field(16, ge=1, description="channels of the latent")

    def build(self, width: int) -> Bottleneck:
        return Linear(width, self.channels)


class Linear(Bottleneck):
    """z = W h + b."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.project = Pointwise(width, channels)

    def squeeze(self, h: Tensor) -> Latent:
        return Latent(self.project(h))
