"""Lookup-free quantization: a code is the signs of its channels, so K codes need log2 K channels and no codebook.

Source: Yu et al. 2023, "Language model beats diffusion: tokenizer is key to visual generation", section 3.1. The term `evenness` is
an addition: signs of channels that are far from 0, or alike, use a few codes only, and the entropy alone is slow to change that.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor

from vitrail.bottlenecks._bits import MOST, channels_for, numbered, power_of_two, signs, spread
from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise, use
from vitrail.bottlenecks._evenness import unevenness
from vitrail.types import Config as PartConfig
from vitrail.types import Latent


class Config(PartConfig):
    """Lookup-free quantization."""

    usual_weights: ClassVar = {"entropy": 0.001, "commitment": 0.01, "evenness": 0.01}

    size: int = Field(1024, ge=1, le=1 << MOST, description="K, number of codes, a power of 2")
    temperature: float = Field(
        1.0, gt=0, description="how far from 0 a channel must be for a sure bit, in the unit of the codes"
    )
    diversity: float = Field(1.0, ge=0, description="weight of even use within the entropy term")

    @field_validator("size")
    @classmethod
    def _bits(cls, size: int) -> int:
        return power_of_two(size)

    def build(self, width: int) -> Bottleneck:
        return LookupFree(self, width)


class LookupFree(Bottleneck):
    """h (B, width, *S) -> z (B, C, *S) of -1 and 1, codes (B, 1, *S); the gradient passes straight through.

    Channel 0 is the most significant bit; 0 itself counts as -1.
    """

    levels = 1

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config, self.size, self.channels = config, config.size, channels_for(config.size)
        self.project = Pointwise(width, self.channels)

    def squeeze(self, h: Tensor) -> Latent:
        vectors = self.project(h).movedim(1, -1)  # (B, *S, C)
        codes = numbered(vectors > 0, self.size).unsqueeze(1)
        z = self.values(codes).movedim(1, -1)
        logits = 4 / self.config.temperature * vectors.flatten(0, -2)  # (N, C)
        terms = {
            "entropy": spread(logits, self.config.diversity, shared=self.training),
            "evenness": unevenness(vectors, everywhere=self.training),
            "commitment": (vectors - z).square().mean(),
        }
        if self.training:
            z = z + (vectors - vectors.detach())
        return Latent(z.movedim(-1, 1), codes, terms, use(codes, self.size))

    def values(self, codes: Tensor) -> Tensor:
        return signs(codes.squeeze(1), self.channels).movedim(-1, 1)

    def codebook(self, level: int = 0) -> Tensor:
        return signs(torch.arange(self.size, device=self.progress.device), self.channels)
