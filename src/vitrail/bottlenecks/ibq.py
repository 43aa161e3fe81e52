"""Index backpropagation: the decoder reads the nearest code, its gradient reaches all codes and the vector through their weights.

Shi et al. 2024, "Scalable image tokenization with index backpropagation quantization".
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise, use
from vitrail.bottlenecks._codebook import Codebook, Learning
from vitrail.bottlenecks._weighing import indecision, mixed, spread, towards
from vitrail.types import Config as PartConfig
from vitrail.types import Latent


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


class IndexQuantizer(Bottleneck):
    """h (B, width, *S) -> z (B, C, *S), codes (B, 1, *S)."""

    levels = 1

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config, self.size, self.channels = config, config.size, config.channels
        self.project = Pointwise(width, config.channels)
        learning = Learning(codebook="gradient", revive=config.revive)
        self.book = Codebook(config.size, config.channels, learning, config.sphere)

    def squeeze(self, h: Tensor) -> Latent:
        vectors = self.book.place(self.project(h).movedim(1, -1))  # (B, *S, C)
        index, values = self.book(vectors)
        terms, codes = self.book.terms(vectors, values), index.unsqueeze(1)
        z, table = values, self.book.table()
        if self.training:
            z = values + self._through_weights(vectors, values, table)
        if self.config.entropy:
            terms["entropy"] = indecision(vectors, values, table, self.config.temperature, everywhere=self.training)
        return Latent(z.movedim(-1, 1), codes, terms, use(codes, self.size))

    def _through_weights(self, vectors: Tensor, values: Tensor, table: Tensor) -> Tensor:
        """Nothing going forward; going back, the gradient of the mixture of all codes for the weights they have in it."""
        unit = self.config.temperature * spread(vectors, values, everywhere=True)
        mixture = mixed(*towards(vectors.flatten(0, -2), table, unit), table.detach()).view_as(values)
        return mixture - mixture.detach()

    def values(self, codes: Tensor) -> Tensor:
        return self.book.values(codes.squeeze(1)).movedim(-1, 1)

    def codebook(self, level: int = 0) -> Tensor:
        return self.book.table()

    def after_step(self) -> None:
        self.book.after_step()
