"""Soft vector quantization: in training the decoder reads a mixture of all codes, the nearer the more, that hardens over time.

Agustsson et al. 2017, "Soft-to-hard vector quantization for end-to-end learning compressible representations", section 3.
The last part of the training is hard forwards and soft backwards (Mentzer et al. 2018, "Conditional probability models for deep
image compression"), so that the decoder has met what it reads in evaluation: the nearest code.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck
from vitrail.bottlenecks._quantizer import Quantizer
from vitrail.bottlenecks._weighing import mixed, spread, towards
from vitrail.types import Config as PartConfig


class Config(PartConfig):
    """Soft-to-hard vector quantization."""

    usual_weights: ClassVar = {"commitment": 0.25}

    size: int = Field(512, ge=1, description="K, number of codes")
    channels: int = Field(16, ge=1, description="dimensions in which codes are compared")
    sphere: bool = Field(False, description="compare directions only: vectors and codes are scaled to one length")
    start: float = Field(
        1.0, gt=0, description="temperature at first, in mean squared distances from a vector to its nearest code"
    )
    end: float = Field(0.1, gt=0, description="temperature at the end, reached geometrically")
    hard_from: float = Field(
        0.5, ge=0, le=1, description="share of the training after which the decoder reads the nearest code alone"
    )
    revive: float = Field(
        0.05, ge=0, lt=1, description="a code that wins less than this share of an even part is moved; 0: never"
    )

    def build(self, width: int) -> Bottleneck:
        return SoftQuantizer(self, width)


class SoftQuantizer(Quantizer):
    """h (B, width, *S) -> z (B, C, *S), codes (B, 1, *S): those of the nearest, in training and evaluation."""

    def temperature(self) -> Tensor:
        """Now, in mean squared distances to the nearest code."""
        return self.config.start * (self.config.end / self.config.start) ** self.progress

    def read(self, vectors: Tensor, values: Tensor) -> Tensor:
        """A mixture of all codes; towards the end with the nearest one in its place, the gradient still soft."""
        table = self.book.table()
        unit = spread(vectors, values, everywhere=True)
        queries, keys = towards(vectors.flatten(0, -2), table, self.temperature() * unit)
        mixture = mixed(queries, keys, table).view_as(vectors)
        hard = (self.progress >= self.config.hard_from).to(mixture.dtype)
        return mixture + hard * (values - mixture).detach()
