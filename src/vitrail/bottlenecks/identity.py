"""Nothing is squeezed: z is what the encoder put out, with all its channels."""

from __future__ import annotations

from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck
from vitrail.types import Config as PartConfig
from vitrail.types import Latent


class Config(PartConfig):
    """As many channels as the encoder has."""

    def build(self, width: int) -> Bottleneck:
        return Identity(width)


class Identity(Bottleneck):
    """z = h."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = width

    def squeeze(self, h: Tensor) -> Latent:
        return Latent(h)
