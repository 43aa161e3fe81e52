"""A diagonal Gaussian posterior with its KL divergence to the standard normal: the bottleneck of a VAE."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise
from vitrail.types import Config as PartConfig
from vitrail.types import Latent


class Config(PartConfig):
    """Diagonal Gaussian posterior."""

    usual_weights: ClassVar = {"kl": 1.0}

    channels: int = Field(16, ge=1, description="channels of the latent")
    free_bits: float = Field(0.0, ge=0, description="bits per channel that cost nothing, against posterior collapse")

    def build(self, width: int) -> Bottleneck:
        return Gaussian(width, self.channels, self.free_bits)


class Gaussian(Bottleneck):
    """z = mean + std * noise in training, z = mean in eval."""

    noisy = True

    def __init__(self, width: int, channels: int, free_bits: float = 0.0) -> None:
        super().__init__()
        self.channels, self.free_nats = channels, free_bits * math.log(2)
        self.project = Pointwise(width, 2 * channels)

    def squeeze(self, h: Tensor) -> Latent:
        mean, logvar = self.posterior(h)
        z = mean + (0.5 * logvar).exp() * torch.randn_like(mean) if self.training else mean
        per_channel = kl_to_standard_normal(mean, logvar).reshape(*mean.shape[:2], -1).sum(2)  # (B, C) nats
        active = (
            (per_channel.mean(0) > 0.01).float().mean()
        )  # channels that carry information (Burda et al. 2016 count variance)
        kl = per_channel.sum(1)
        return Latent(
            z, terms={"kl": self._spare(per_channel)}, stats={"kl_nats": kl.mean().detach(), "active_channels": active}
        )

    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (B, C, *S); the log-variance is kept in [-30, 20] as in latent diffusion."""
        mean, logvar = self.project(h).chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def _spare(self, per_channel: Tensor) -> Tensor:
        """(B, C) -> (B,): the batch mean of each channel counts only above the free nats.  Kingma et al. 2016, eq. 15."""
        if self.free_nats == 0:
            return per_channel.sum(1)
        return per_channel.mean(0).clamp_min(self.free_nats).sum().expand(len(per_channel))


def kl_to_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, 1)) in nats, elementwise.  Kingma & Welling 2014, appendix B."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
