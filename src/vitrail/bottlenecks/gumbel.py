"""Gumbel-softmax: codes are drawn from a categorical posterior by a relaxed draw that hardens over time.

Jang et al. 2017, "Categorical reparameterization with Gumbel-softmax"; as a tokenizer Ramesh et al. 2021, "Zero-shot
text-to-image generation" (the dVAE of DALL-E), whose temperature falls from 1 to 1/16. Their logits are a free linear map of the
encoder's output: in short runs most codes were then the likeliest one nowhere, and evaluation reads only those. Here a code is the
likelier the nearer it is (Sønderby et al. 2017, "Continuous relaxation training of discrete latent variable image models"), so
that the codebook starts by k-means and is revived.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from vitrail.bottlenecks._bottleneck import Bottleneck, use
from vitrail.bottlenecks._quantizer import Quantizer
from vitrail.bottlenecks._weighing import drawn, entropies, spread, towards
from vitrail.types import Config as PartConfig
from vitrail.types import Latent


class Config(PartConfig):
    """Categorical posterior with Gumbel noise."""

    usual_weights: ClassVar = {"commitment": 0.25, "kl": 5e-4}

    size: int = Field(512, ge=1, description="K, number of codes")
    channels: int = Field(16, ge=1, description="dimensions in which codes are compared")
    sphere: bool = Field(False, description="compare directions only: vectors and codes are scaled to one length")
    start: float = Field(1.0, gt=0, description="temperature of the relaxed draw at first")
    end: float = Field(1 / 16, gt=0, description="temperature at the end, reached geometrically")
    hard: bool = Field(
        False, description="the decoder reads the drawn code alone, the gradient stays that of the relaxed draw"
    )
    revive: float = Field(
        0.05, ge=0, lt=1, description="a code that is nearest less than this share of an even part is moved; 0: never"
    )

    def build(self, width: int) -> Bottleneck:
        return GumbelQuantizer(self, width)


class GumbelQuantizer(Quantizer):
    """h (B, width, *S) -> z (B, C, *S), codes (B, 1, *S): drawn in training, the most likely ones in evaluation."""

    def __init__(self, config: Config, width: int) -> None:
        super().__init__(config, width)
        self.gain = nn.Parameter(torch.zeros(()))  # logarithm: how much surer than a fitted mixture of Gaussians

    def squeeze(self, h: Tensor) -> Latent:
        vectors = self.book.place(self.project(h).movedim(1, -1))  # (B, *S, C)
        index, values = self.book(vectors)
        table, terms = self.book.table(), self.book.terms(vectors, values)
        unit = 2 / self.channels * spread(vectors, values, everywhere=self.training)
        queries, keys = towards(vectors.flatten(0, -2), table, unit * (-self.gain).exp())
        each, _ = entropies(queries, keys, everywhere=False)
        # (B,) nats from the posterior to a uniform one.
        terms["kl"] = (math.log(self.size) - each).view(h.shape[0], -1).sum(1)
        if self.training:
            values, index = self._draw(queries, keys, table)
        codes, z = index.view(vectors.shape[:-1]).unsqueeze(1), values.view_as(vectors)
        stats = {"kl_nats": terms["kl"].mean().detach(), **use(codes, self.size)}
        return Latent(z.movedim(-1, 1), codes, terms, stats)

    def temperature(self) -> Tensor:
        """Of the relaxed draw, now."""
        return self.config.start * (self.config.end / self.config.start) ** self.progress

    def _draw(self, queries: Tensor, keys: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder reads (N, C) and which codes (N,) were drawn."""
        z, index = drawn(queries, keys, table, self.temperature())
        if self.config.hard:
            z = z + (table[index] - z).detach()
        return z, index
