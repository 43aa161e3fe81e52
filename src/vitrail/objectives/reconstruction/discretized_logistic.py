"""Mixture of discretized logistics: an exact probability of 8-bit values, so bits per dimension."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from vitrail.objectives.reconstruction._likelihood import Likelihood
from vitrail.types import Config as PartConfig

LOG_SCALE_MIN, LOG_SCALE_MAX = -7.0, 7.0  # on the scale of [-1, 1]; the lower one as in the paper's code
HALF_BIN = 1 / 255  # half of one 8-bit step, on the scale of [-1, 1]


class Config(PartConfig):
    """Settings of the discretized logistic mixture."""

    mixtures: int = Field(10, ge=1, description="logistics per value; each costs the decoder 10 channels on RGB")

    def build(self, channels: int) -> DiscretizedLogistic:
        return DiscretizedLogistic(channels, self.mixtures)


class DiscretizedLogistic(Likelihood):
    """Negative log probability in nats of x rounded to 8 bits.

    One mixture index is shared by the channels of a position; on three channels, green's mean depends linearly on red,
    blue's on red and green.   Source: Salimans, Karpathy, Chen, Kingma 2017 (PixelCNN++), section 2.1 and 2.2.
    """

    exact = True

    def __init__(self, channels: int, mixtures: int) -> None:
        self.coupled = 3 if channels == 3 else 0  # coefficients per mixture
        super().__init__(channels, outputs=mixtures * (1 + 2 * channels + self.coupled))
        self.mixtures = mixtures

    def cost(self, params: Tensor, x: Tensor) -> Tensor:
        """Nats per position: (B, *S)."""
        logits, means, log_scales, coefficients = self.split(params)
        x = (2 / 255 * (255 * x).round() - 1).unsqueeze(1)  # (B, 1, C, *S) in [-1, 1]
        means = couple(means, coefficients, x)
        per_channel = logistic_bin_log_probability(x, means, log_scales)  # (B, K, C, *S)
        return -torch.logsumexp(logits.log_softmax(1) + per_channel.sum(2), dim=1)

    def centre(self, params: Tensor) -> Tensor:
        """Mean of the mixture, each component's cut off at the range's ends."""
        logits, means, _, coefficients = self.split(params)
        with_green = couple(means, coefficients, means)  # red and green are right, blue still lacks the new green
        means = couple(means, coefficients, with_green)
        mean = (logits.softmax(1).unsqueeze(2) * means.clamp(-1, 1)).sum(1)  # (B, C, *S)
        return 0.5 + 0.5 * mean

    def split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits (B, K, *S), means and log scales (B, K, C, *S), coupling coefficients (B, K, 0 or 3, *S)."""
        params = params.unflatten(1, (self.mixtures, -1))  # (B, K, 1 + 2C + coupled, *S)
        logits, means, log_scales, coefficients = params.split((1, self.channels, self.channels, self.coupled), dim=2)
        log_scales = LOG_SCALE_MIN + softplus(log_scales - LOG_SCALE_MIN)
        return logits.squeeze(2), means + self._spread(means), log_scales.clamp(max=LOG_SCALE_MAX), coefficients.tanh()

    def _spread(self, means: Tensor) -> Tensor:
        """Offsets of the components' means: equal outputs would get equal gradients and stay equal for ever."""
        if self.mixtures == 1:
            return means.new_zeros(())
        return torch.linspace(-0.5, 0.5, self.mixtures, device=means.device).view(-1, *[1] * (means.ndim - 2))


def couple(means: Tensor, coefficients: Tensor, x: Tensor) -> Tensor:
    """Means of green given red and of blue given red and green; other than three channels stay as they are.

    means: (B, K, C, *S).   coefficients: (B, K, 0 or 3, *S).   x: (B, 1 or K, C, *S) on the scale of [-1, 1].
    """
    if coefficients.shape[2] == 0:
        return means
    red, green, blue = means.unbind(2)
    on_green, red_on_blue, green_on_blue = coefficients.unbind(2)
    green = green + on_green * x[:, :, 0]
    blue = blue + red_on_blue * x[:, :, 0] + green_on_blue * x[:, :, 1]
    return torch.stack((red, green, blue), dim=2)


def logistic_bin_log_probability(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Log probability of the bin of width 2/255 around x; the bins at -1 and 1 reach to infinity.

    With a, b the bin's ends in units of the scale, sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)):
    in this form nothing cancels, so no case distinction for narrow scales is needed.
    """
    inverse_scale = (-log_scale).exp()
    above = (x - mean + HALF_BIN) * inverse_scale
    below = (x - mean - HALF_BIN) * inverse_scale
    lowest, highest = x < -1 + HALF_BIN, x > 1 - HALF_BIN
    log_upper_end = torch.where(highest, 0.0, -softplus(-above))
    log_lower_end = torch.where(lowest, 0.0, -softplus(below))
    log_gap = torch.where(lowest | highest, 0.0, (-torch.expm1(-2 * HALF_BIN * inverse_scale)).log())
    return log_upper_end + log_lower_end + log_gap
