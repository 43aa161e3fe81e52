"""Index backpropagation: the decoder reads the nearest code, its gradient reaches all codes and the vector through their weights.

Shi et al. 2024, "Scalable image tokenization with index backpropagation quantization".
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck
from vitrail.bottlenecks._quantizer import Quantizer
from vitrail.bottlenecks._weighing import indecision, mixed, spread, towards
from vitrail.types import Config as PartConfig


class Config(PartConfig):
    """Index backpropagation quantization."""

    usual_weights: ClassVar = {"commitment": 0.25}

    size: int = Field(512, ge=1, description="K, number of codes")
    channels: int = Field(16, ge=1, description="dimensions in which codes are compared")
    sphere: bool = Field(False, description="compare directions only: vectors and codes are scaled to one length")
    temperature: float = Field(
        1.0, gt=0, description="of the weights, in mean squared distances from a vector to its nearest code"
    )
    entropy: bool = Field(
        False,
        description="report the term `entropy` (unsure vectors less evenly used codes, nats): weigh it by 0.002 or so",
    )
    revive: float = Field(
        0.05, ge=0, lt=1, description="a code that wins less than this share of an even part is moved; 0: never"
    )

    def build(self, width: int) -> Bottleneck:
        return IndexQuantizer(self, width)


class IndexQuantizer(Quantizer):
    """h (B, width, *S) -> z (B, C, *S), codes (B, 1, *S)."""

    def read(self, vectors: Tensor, values: Tensor) -> Tensor:
        """The nearest; going back, also the gradient of the mixture of all codes for the weights they have in it."""
        table, unit = self.book.table(), self.config.temperature * spread(vectors, values, everywhere=True)
        mixture = mixed(*towards(vectors.flatten(0, -2), table, unit), table.detach()).view_as(values)
        return values + (mixture - mixture.detach())

    def asked_for(self, vectors: Tensor, values: Tensor) -> dict[str, Tensor]:
        if not self.config.entropy:
            return {}
        table, unit = self.book.table(), self.config.temperature
        return {"entropy": indecision(vectors, values, table, unit, everywhere=self.training)}
