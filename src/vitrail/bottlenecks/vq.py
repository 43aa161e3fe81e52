"""Vector quantization: every latent vector becomes the nearest of K codes.

Against collapse: codes are compared in few dimensions, on the unit sphere if asked for (Yu et al. 2022), start by k-means, and move
onto vectors of the current batch where they win too little. Two more terms work against it where they are asked for.
"""

from __future__ import annotations

from typing import Self

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck
from vitrail.bottlenecks._codebook import Learning, passed
from vitrail.bottlenecks._quantizer import Quantizer
from vitrail.bottlenecks._weighing import indecision


class Config(Learning):
    """Vector quantization."""

    size: int = Field(512, ge=1, description="K, number of codes")
    channels: int = Field(16, ge=1, description="dimensions in which codes are compared")
    sphere: bool = Field(False, description="compare directions only: vectors and codes are scaled to one length")
    orthogonality: bool = Field(False, description="report the term `orthogonality`: mean squared cosine between codes")
    entropy: bool = Field(
        False,
        description="report the term `entropy` (unsure vectors less evenly used codes, nats): weigh it by 0.002 or so",
    )
    temperature: float = Field(
        0.5, gt=0, description="of the entropy's softmax, in mean squared distances from a vector to its nearest code"
    )

    @model_validator(mode="after")
    def _codes_take_gradients(self) -> Self:
        if self.orthogonality and self.codebook == "ema":
            raise ValueError("orthogonality moves codes by gradient, running means take none; set codebook to gradient")
        return self

    def build(self, width: int) -> Bottleneck:
        return VectorQuantizer(self, width)


class VectorQuantizer(Quantizer):
    """h (B, width, *S) -> z (B, C, *S), codes (B, 1, *S)."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__(config, width, learning=config)

    def read(self, vectors: Tensor, values: Tensor) -> Tensor:
        return passed(vectors, values, self.config)

    def asked_for(self, vectors: Tensor, values: Tensor) -> dict[str, Tensor]:
        terms, table = {}, self.book.table()
        if self.config.orthogonality:
            terms["orthogonality"] = squared_cosine(table)
        if self.config.entropy:
            terms["entropy"] = indecision(vectors, values, table, self.config.temperature, everywhere=self.training)
        return terms


def squared_cosine(codes: Tensor) -> Tensor:
    """Mean squared cosine between different codes (K, C).  Shin et al. 2021, "Translation-equivariant image quantizer".

    With unit rows, the squares of the K x K products sum up to those of the C x C products of columns.
    """
    directions = F.normalize(codes, dim=1)
    every, same = (directions.T @ directions).square().sum(), directions.square().sum(1).square().sum()
    return (every - same) / max(1, len(codes) * (len(codes) - 1))
