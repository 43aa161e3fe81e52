"""One code for every point, the nearest of one codebook: what `vq`, `soft`, `ibq` and `gumbel` have in common."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise, use
from vitrail.bottlenecks._codebook import Codebook, Learning
from vitrail.types import Latent


class Quantizer(Bottleneck):
    """h (B, width, *S) -> z (B, C, *S), codes (B, 1, *S). A subclass says what the decoder reads in training."""

    levels = 1

    def __init__(self, config: Any, width: int, learning: Learning | None = None) -> None:
        """learning: of the codebook; None: by gradient, with the config's `revive`."""
        super().__init__()
        self.config, self.size, self.channels = config, config.size, config.channels
        self.project = Pointwise(width, config.channels)
        learning = learning or Learning(codebook="gradient", revive=config.revive)
        self.book = Codebook(config.size, config.channels, learning, config.sphere)

    def squeeze(self, h: Tensor) -> Latent:
        vectors = self.book.place(self.project(h).movedim(1, -1))  # (B, *S, C)
        index, values = self.book(vectors)
        terms, codes = self.book.terms(vectors, values) | self.asked_for(vectors, values), index.unsqueeze(1)
        z = self.read(vectors, values) if self.training else values
        return Latent(z.movedim(-1, 1), codes, terms, use(codes, self.size))

    def read(self, vectors: Tensor, values: Tensor) -> Tensor:
        """What the decoder reads in training (..., C), for vectors (..., C) and the codes nearest to them."""
        raise NotImplementedError

    def asked_for(self, vectors: Tensor, values: Tensor) -> dict[str, Tensor]:
        """Terms that are off by default."""
        return {}

    def values(self, codes: Tensor) -> Tensor:
        return self.book.values(codes.squeeze(1)).movedim(-1, 1)

    def codebook(self, level: int = 0) -> Tensor:
        return self.book.table()

    def after_step(self) -> None:
        self.book.after_step()
