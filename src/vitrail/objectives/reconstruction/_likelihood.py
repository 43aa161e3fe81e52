"""The interface of all reconstruction likelihoods, and the convention of how a decoder's output maps to data."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Likelihood(nn.Module, ABC):
    """A distribution over data x, given what a decoder put out; all arithmetic in float32, also under autocast.

    `exact` says whether exp(-nats) is a probability of 8-bit data, so that bits per dimension mean something.
    Densities of continuous values are not: their nats can fall below 0.
    """

    exact: bool = False

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.channels = channels  # C of the data
        self.outputs = outputs  # channels that the decoder has to put out

    @abstractmethod
    def cost(self, params: Tensor, x: Tensor) -> Tensor:
        """Cost of each value (nats where it is a likelihood), unreduced; its first axis is B."""

    @abstractmethod
    def centre(self, params: Tensor) -> Tensor:
        """Mean of the distribution, not yet clamped: (B, C, *S)."""

    def terms(self, params: Tensor, x: Tensor) -> dict[str, Tensor]:
        """The term "reconstruction": (B,), summed over each sample's values.

        params: (B, outputs, *S), centred on 0.   x: (B, C, *S) in [0, 1].
        """
        assert params.shape[1] == self.outputs, f"decoder put out {params.shape[1]} channels, not {self.outputs}"
        assert x.shape[1] == self.channels, f"data has {x.shape[1]} channels, not {self.channels}"
        with torch.autocast(params.device.type, enabled=False):
            cost = self.cost(params.float(), x.float())
        return {"reconstruction": cost.reshape(len(x), -1).sum(1)}

    def mean(self, params: Tensor) -> Tensor:
        """The reconstruction (B, C, *S), float32 in [0, 1]."""
        with torch.autocast(params.device.type, enabled=False):
            return self.centre(params.float()).clamp(0, 1)


def to_data(params: Tensor) -> Tensor:
    """Decoder outputs, centred on 0, to data values: [-1, 1] -> [0, 1]."""
    return 0.5 + 0.5 * params
