"""Binary spherical quantization: vectors lie on the unit sphere, and codes are the corners of the cube inside it.

Source: Zhao et al. 2024, "Image and video tokenization with binary spherical quantization", section 4. The term `evenness` is an
addition, judged before vectors go onto the sphere: signs of channels that are far from 0, or alike, use a few codes only.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor

from vitrail.bottlenecks._bits import MOST, channels_for, numbered, power_of_two, signs, spread
from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise, use
from vitrail.bottlenecks._evenness import unevenness
from vitrail.types import Config as PartConfig
from vitrail.types import Latent

SHORTEST = 1e-4  # length from which vectors have a direction; it bounds the gradient at 0


class Config(PartConfig):
    """Binary spherical quantization."""

    usual_weights: ClassVar = {"entropy": 0.001, "evenness": 0.01}

    size: int = Field(1024, ge=1, le=1 << MOST, description="K, number of codes, a power of 2")
    temperature: float = Field(
        0.1, gt=0, description="how far from 0 a channel must be for a sure bit; vectors have length 1"
    )
    diversity: float = Field(1.0, ge=0, description="weight of even use within the entropy term")

    @field_validator("size")
    @classmethod
    def _bits(cls, size: int) -> int:
        return power_of_two(size)

    def build(self, width: int) -> Bottleneck:
        return BinarySpherical(self, width)


class BinarySpherical(Bottleneck):
    """h (B, width, *S) -> z (B, C, *S) of length 1, codes (B, 1, *S); the gradient passes straight through.

    Channel 0 is the most significant bit; 0 itself counts as negative. Vectors are never further than sqrt(2) from their codes, so
    there is no commitment.
    """

    levels = 1

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config, self.size, self.channels = config, config.size, channels_for(config.size)
        self.corner = self.channels**-0.5  # magnitude of every channel of a code
        self.project = Pointwise(width, self.channels)

    def squeeze(self, h: Tensor) -> Latent:
        free = self.project(h).movedim(1, -1)  # (B, *S, C)
        vectors = F.normalize(free, dim=-1, eps=SHORTEST)
        codes = numbered(vectors > 0, self.size).unsqueeze(1)
        logits = 4 * self.corner / self.config.temperature * vectors.flatten(0, -2)  # (N, C)
        terms = {
            "entropy": spread(logits, self.config.diversity, shared=self.training),
            "evenness": unevenness(free, everywhere=self.training),
        }
        z = self.values(codes)
        if self.training:
            z = z + (vectors - vectors.detach()).movedim(-1, 1)
        return Latent(z, codes, terms, use(codes, self.size))

    def values(self, codes: Tensor) -> Tensor:
        return self.corner * signs(codes.squeeze(1), self.channels).movedim(-1, 1)

    def codebook(self, level: int = 0) -> Tensor:
        return self.corner * signs(torch.arange(self.size, device=self.progress.device), self.channels)
