"""Measured bit strings as codes: the encoder says how likely each is (Born's rule), and each has a vector in a codebook.

Of n qubits that are 2^n codes; any other encoder will do, whose channels are then the logarithms of odds. In training either a
bit string is drawn, as a device would measure one, or everything is weighed by its probability, which a simulator can do:

    E_k |x - e_k|^2  =  |x - z|^2  +  sum_k p_k |e_k - z|^2,   z = sum_k p_k e_k

The second sum is the term `variance`. So with squared error and a decoder that keeps distances (network=quantum with
decoding=patches) the expected cost is minimised exactly; with any other decoder it is an approximation.
Our own construction: no published model with this bottleneck is known to us.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vitrail.bottlenecks._bottleneck import Bottleneck, use
from vitrail.processes import averaged
from vitrail.types import Config as PartConfig
from vitrail.types import Latent

SCATTER = 0.3  # of fresh codes, per channel
TINY = torch.finfo(torch.float32).tiny


class Config(PartConfig):
    """Bit strings as codes. There are as many codes as the encoder has channels: 2^n of a circuit's probabilities."""

    # Decoders put out values in [-1, 1], data is in [0, 1]: squares of the one are 4 times those of the other.
    usual_weights: ClassVar = {"variance": 0.25, "evenness": 0.05, "doubt": 0.0}

    channels: int = Field(16, ge=1, description="numbers that a code stands for")
    training: Literal["expectation", "straight-through"] = Field(
        "expectation",
        description="expectation: the mean over all codes, with the term `variance`; straight-through: a code that is drawn, the "
        "gradient that of the mean",
    )

    def build(self, width: int) -> Bottleneck:
        return Born(self, width)


class Born(Bottleneck):
    """h (B, K, *S) logarithms of odds -> z (B, C, *S), codes (B, 1, *S); in evaluation those of the likeliest bit string.

    Terms: `variance`, squared distance of codes to their mean, per sample; `evenness`, KL from the batch's mean probabilities to
    even ones, in nats; `doubt`, mean entropy of the probabilities of a point, in nats.
    """

    levels = 1

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.config, self.size, self.channels = config, width, config.channels
        self.embedding = nn.Parameter(SCATTER * torch.randn(width, config.channels))

    def squeeze(self, h: Tensor) -> Latent:
        logs = h.movedim(1, -1).log_softmax(-1)  # (B, *S, K)
        odds, drawing = logs.exp(), self.training and self.config.training == "straight-through"
        index = (drawn(logs) if drawing else logs).argmax(-1)  # (B, *S)
        z = F.embedding(index, self.embedding)
        if drawing:
            mean = odds @ self.embedding.detach()
            z = z + (mean - mean.detach())
        elif self.training:
            z = odds @ self.embedding
        codes = index.unsqueeze(1)
        return Latent(z.movedim(-1, 1), codes, self._terms(odds, logs), use(codes, self.size))

    def values(self, codes: Tensor) -> Tensor:
        return F.embedding(codes.squeeze(1), self.embedding).movedim(-1, 1)

    def codebook(self, level: int = 0) -> Tensor:
        return self.embedding

    def _terms(self, odds: Tensor, logs: Tensor) -> dict[str, Tensor]:
        if torch.compiler.is_exporting():
            return {}  # an exported graph has no terms
        together = averaged(odds.flatten(0, -2).mean(0), everywhere=self.training)
        evenness = math.log(self.size) + (together * together.clamp_min(TINY).log()).sum()
        terms = {"evenness": evenness, "doubt": -(odds * logs.clamp_min(math.log(TINY))).sum(-1).mean()}
        if self.config.training == "expectation":
            terms["variance"] = variance(odds, self.embedding).flatten(1).sum(1)
        return terms


def drawn(logs: Tensor) -> Tensor:
    """Whose largest entry is a draw from the softmax (Gumbel 1954), with noise from torch's global generator."""
    return logs.detach() - torch.empty_like(logs).exponential_().log()


def variance(odds: Tensor, codes: Tensor) -> Tensor:
    """sum_k p_k |e_k - z|^2 with z = sum_k p_k e_k.  (..., K), (K, C) -> (..., 1).

    Codes are moved to their middle first, so that little cancels.
    """
    centred = codes - codes.detach().mean(0)
    mean = odds @ centred
    return odds @ centred.square().sum(1, keepdim=True) - mean.square().sum(-1, keepdim=True)
