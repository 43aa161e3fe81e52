"""Fully connected encoder and decoder, for tables and for the dense VAE of the papers."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from pydantic import Field
from torch import Tensor, nn

from vitrail.errors import DataError
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec


class Config(PartConfig):
    """A fully connected encoder-decoder pair; the latent is one vector."""

    widths: tuple[int, ...] = Field(
        (512, 512), min_length=1, description="hidden layers of the encoder; the decoder mirrors them"
    )

    @property
    def stride(self) -> int:
        """0: the latent is one vector, without the axes of the data."""
        return 0

    def fitted(self, spec: DataSpec) -> Config:
        """Nothing is left open."""
        return self

    def encoder(self, spec: DataSpec) -> Encoder:
        return Encoder(self, spec.shape)

    def decoder(self, spec: DataSpec, channels: int, outputs: int) -> Decoder:
        """From a latent vector of `channels` to `outputs` values for each point of the data."""
        return Decoder(self, channels, (outputs, *spec.space))


class Encoder(nn.Module):
    """(B, C, *S) of one fixed shape -> (B, width)."""

    def __init__(self, config: Config, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.width = shape, config.widths[-1]
        self.layers = _layers((prod(shape), *config.widths))

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise DataError(f"a dense network reads samples of shape {self.shape} only, got {tuple(x.shape[1:])}")
        return self.layers(x.flatten(1))


class Decoder(nn.Module):
    """(B, D) -> (B, outputs, *S)."""

    def __init__(self, config: Config, channels: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        widths = config.widths[::-1]
        self.layers = nn.Sequential(_layers((channels, *widths)), nn.Linear(widths[-1], prod(shape)))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).unflatten(1, self.shape)

    @property
    def last(self) -> Tensor:
        """The weight of the last layer."""
        head = self.layers[-1]
        assert isinstance(head, nn.Linear)
        return head.weight


def _layers(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear and ReLU in turn."""
    return nn.Sequential(*(layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())))
