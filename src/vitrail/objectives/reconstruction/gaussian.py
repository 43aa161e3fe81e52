"""Gaussian likelihood whose variance is learned, predicted per value, or set to its optimum."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vitrail.objectives.reconstruction._likelihood import Likelihood, to_data
from vitrail.processes import mean_of_all
from vitrail.types import Config as PartConfig

Variance = Literal["shared", "pixel", "optimal"]

# Bounds of sigma, in data units. Below one 8-bit step the density only rewards fitting the rounding, and without
# a bound it grows for ever on pixels that never change; above 1 sigma exceeds the data's whole range.
LOG_SIGMA_MIN, LOG_SIGMA_MAX = math.log(1 / 255), 0.0
MOMENTUM = 0.01  # of the running optimal log sigma that evaluation uses


class Config(PartConfig):
    """Settings of the Gaussian likelihood."""

    variance: Variance = Field(
        "optimal",
        description="shared: one learned value; optimal: the best one for each batch, in closed form; "
        "pixel: predicted for each value, so the decoder puts out twice the channels",
    )

    def build(self, channels: int) -> Gaussian:
        return Gaussian(channels, self.variance)


class Gaussian(Likelihood):
    """Negative log density in nats, of values in [0, 1]; can be negative, so not `exact`.

    optimal: in training sigma^2 is the mean squared error of the batch (over all processes), in evaluation its running
    average, so that a score does not depend on the batch.   Source: Rybkin, Daniilidis, Levine 2021 (sigma-VAE).
    """

    running: Tensor

    def __init__(self, channels: int, variance: Variance) -> None:
        super().__init__(channels, outputs=2 * channels if variance == "pixel" else channels)
        self.variance = variance
        if variance == "shared":
            self.raw = nn.Parameter(torch.zeros(()))  # bounded by `bound`; 0 is sigma = 1/16
        if variance == "optimal":
            self.register_buffer("running", torch.tensor(math.log(1 / 16)))  # log sigma

    def cost(self, params: Tensor, x: Tensor) -> Tensor:
        squared_error = (self.centre(params) - x).square()
        return gaussian_nats(squared_error, self.log_sigma(params, squared_error))

    def centre(self, params: Tensor) -> Tensor:
        return to_data(params[:, : self.channels])

    def log_sigma(self, params: Tensor, squared_error: Tensor) -> Tensor:
        """Log standard deviation, broadcastable to (B, C, *S)."""
        if self.variance == "pixel":
            return bound(params[:, self.channels :])
        if self.variance == "shared":
            return bound(self.raw)
        return self.running if not self.training else self._optimal(squared_error)

    @torch.no_grad()
    def _optimal(self, squared_error: Tensor) -> Tensor:
        """The batch's best log sigma, also averaged in. Its gradient is 0 at the optimum, so none is taken."""
        best = 0.5 * mean_of_all(squared_error.mean()).log().clamp(2 * LOG_SIGMA_MIN, 2 * LOG_SIGMA_MAX)
        self.running.lerp_(torch.where(best.isfinite(), best, self.running), MOMENTUM)  # survives one broken batch
        return best


def gaussian_nats(squared_error: Tensor, log_sigma: Tensor) -> Tensor:
    """-log N(x; mean, sigma^2) in nats, elementwise, from (x - mean)^2."""
    return 0.5 * squared_error * (-2 * log_sigma).exp() + log_sigma + 0.5 * math.log(2 * math.pi)


def bound(raw: Tensor) -> Tensor:
    """An unbounded value to a log sigma between 1/255 and 1, with a gradient everywhere."""
    return LOG_SIGMA_MIN + (LOG_SIGMA_MAX - LOG_SIGMA_MIN) * raw.sigmoid()
