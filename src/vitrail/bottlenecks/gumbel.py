"""Gumbel-softmax: codes are drawn from a categorical posterior by a relaxed draw that hardens over time.

Jang et al. 2017, "Categorical reparameterization with Gumbel-softmax"; as a tokenizer Ramesh et al. 2021, "Zero-shot text-to-image
generation" (the dVAE of DALL-E), section 2.1, whose temperature falls from 1 to 1/16.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise, use
from vitrail.bottlenecks._codebook import SHORTEST
from vitrail.bottlenecks._weighing import drawn, entropies, most_likely
from vitrail.types import Config as PartConfig
from vitrail.types import Latent


class Config(PartConfig):
    """Categorical posterior with Gumbel noise."""

    usual_weights: ClassVar = {"kl": 5e-4}

    size: int = Field(512, ge=1, description="K, number of codes")
    channels: int = Field(16, ge=1, description="dimensions of a code, and of what its probability is computed from")
    start: float = Field(1.0, gt=0, description="temperature of the relaxed draw at first")
    end: float = Field(1 / 16, gt=0, description="temperature at the end, reached geometrically")
    hard: bool = Field(
        False, description="the decoder reads the drawn code alone, the gradient stays that of the relaxed draw"
    )

    def build(self, width: int) -> Bottleneck:
        return GumbelQuantizer(self, width)


class GumbelQuantizer(Bottleneck):
    """h (B, width, *S) -> z (B, C, *S), codes (B, 1, *S): drawn in training, the most likely ones in evaluation.

    A linear map to K logits would be a matrix of points times codes. Here it has two factors: a map to C channels, scaled to unit
    variance at every point, and a key of C numbers and a bias per code.
    """

    levels = 1

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config, self.size, self.channels = config, config.size, config.channels
        self.project = Pointwise(width, config.channels)
        self.keys = nn.Parameter(torch.randn(config.size, config.channels) * config.channels**-0.5)
        self.bias = nn.Parameter(torch.zeros(config.size))
        self.embedding = nn.Parameter(torch.randn(config.size, config.channels))

    def squeeze(self, h: Tensor) -> Latent:
        vectors = self.project(h).movedim(1, -1)  # (B, *S, C)
        even = F.normalize(vectors, dim=-1, eps=SHORTEST) * self.channels**0.5
        queries, keys = F.pad(even.flatten(0, -2), (0, 1), value=1.0), torch.cat([self.keys, self.bias[:, None]], dim=1)
        kl = self._divergence(queries, keys, len(h))
        z, index = self._drawn(queries, keys) if self.training else self._likeliest(queries, keys)
        codes = index.view(vectors.shape[:-1]).unsqueeze(1)
        stats = {"kl_nats": kl.mean().detach(), **use(codes, self.size)}
        return Latent(z.view_as(vectors).movedim(-1, 1), codes, {"kl": kl}, stats)

    def temperature(self) -> Tensor:
        """Now."""
        return self.config.start * (self.config.end / self.config.start) ** self.progress

    def values(self, codes: Tensor) -> Tensor:
        return F.embedding(codes.squeeze(1), self.embedding).movedim(-1, 1)

    def codebook(self, level: int = 0) -> Tensor:
        return self.embedding

    def _divergence(self, queries: Tensor, keys: Tensor, samples: int) -> Tensor:
        """(B,) nats from the posterior to the uniform distribution, summed over a sample's points."""
        each, _ = entropies(queries, keys, everywhere=False)
        return (math.log(self.size) - each).view(samples, -1).sum(1)

    def _drawn(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        z, index = drawn(queries, keys, self.embedding, self.temperature())
        if self.config.hard:
            z = z + (F.embedding(index, self.embedding) - z).detach()
        return z, index

    def _likeliest(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        index = most_likely(queries, keys)
        return F.embedding(index, self.embedding), index
