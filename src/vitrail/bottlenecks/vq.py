"""Vector quantization: every latent vector becomes the nearest of K codes.

Against collapse: codes are compared in few dimensions, on the unit sphere if asked for (Yu et al. 2022), start by k-means, and move
onto vectors of the current batch where they win too little.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise, use
from vitrail.bottlenecks._codebook import Codebook, Learning, passed
from vitrail.types import Latent


class Config(Learning):
    """Vector quantization."""

    size: int = Field(512, ge=1, description="K, number of codes")
    channels: int = Field(16, ge=1, description="dimensions in which codes are compared")
    sphere: bool = Field(False, description="compare directions only: vectors and codes are scaled to one length")

    def build(self, width: int) -> Bottleneck:
        return VectorQuantizer(self, width)


class VectorQuantizer(Bottleneck):
    """h (B, width, *S) -> z (B, C, *S), codes (B, 1, *S)."""

    levels = 1

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config, self.size, self.channels = config, config.size, config.channels
        self.project = Pointwise(width, config.channels)
        self.book = Codebook(config.size, config.channels, config, config.sphere)

    def squeeze(self, h: Tensor) -> Latent:
        vectors = self.book.place(self.project(h).movedim(1, -1))  # (B, *S, C)
        index, values = self.book(vectors)
        terms, codes = self.book.terms(vectors, values), index.unsqueeze(1)
        z = passed(vectors, values, self.config) if self.training else values
        return Latent(z.movedim(-1, 1), codes, terms, use(codes, self.size))

    def values(self, codes: Tensor) -> Tensor:
        return self.book.values(codes.squeeze(1)).movedim(-1, 1)

    def codebook(self, level: int = 0) -> Tensor:
        return self.book.table()

    def after_step(self) -> None:
        self.book.after_step()
