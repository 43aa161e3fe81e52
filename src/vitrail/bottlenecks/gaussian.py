"""A diagonal Gaussian posterior with its KL divergence to a normal distribution: the bottleneck of a VAE.

Against posterior collapse: free bits, or a KL weight that warms up or goes in cycles (`weights.kl.cycles=4`).
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vitrail.bottlenecks._bottleneck import Bottleneck, Pointwise
from vitrail.types import Config as PartConfig
from vitrail.types import Latent

ACTIVE = 0.01  # nats; channels with more carry information (Burda et al. 2016 judge by the variance of the mean)


class Config(PartConfig):
    """Diagonal Gaussian posterior."""

    usual_weights: ClassVar = {"kl": 1.0}

    channels: int = Field(16, ge=1, description="channels of the latent")
    prior: Literal["standard", "learned"] = Field(
        "standard",
        description="what the posterior is pulled towards: N(0, 1), or N(0, s^2) with a learned s per channel",
    )
    free_bits: float = Field(0.0, ge=0, description="bits per channel that cost nothing, against posterior collapse")

    def build(self, width: int) -> Bottleneck:
        return Gaussian(self, width)


class Gaussian(Bottleneck):
    """z = mean + std * noise in training, z = mean in eval.  Term `kl`: nats per sample, shape (B,)."""

    noisy = True
    log_scale: Tensor

    def __init__(self, config: Config, width: int) -> None:
        super().__init__()
        self.channels, self.free_nats = config.channels, config.free_bits * math.log(2)
        self.project = Pointwise(width, 2 * config.channels)
        if config.prior == "learned":
            self.log_scale = nn.Parameter(torch.zeros(config.channels))
        else:
            self.register_buffer("log_scale", torch.zeros(config.channels), persistent=False)

    def squeeze(self, h: Tensor) -> Latent:
        mean, logvar = self.posterior(h)
        z = mean + (0.5 * logvar).exp() * torch.randn_like(mean) if self.training else mean
        kl = divergence(mean, logvar, self.log_scale.view(-1, *(1,) * (h.dim() - 2)))
        per_channel = kl.reshape(*mean.shape[:2], -1).sum(2)  # (B, C) nats
        active = (per_channel.mean(0) > ACTIVE).float().mean()
        stats = {"kl_nats": per_channel.sum(1).mean().detach(), "active_channels": active}
        return Latent(z, terms={"kl": self._spare(per_channel)}, stats=stats)

    def posterior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (B, C, *S); the log-variance is kept in [-30, 20] as in latent diffusion."""
        mean, logvar = self.project(h).chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def scale(self) -> Tensor:
        return self.log_scale.detach().exp()

    def _spare(self, per_channel: Tensor) -> Tensor:
        """(B, C) -> (B,): the batch mean of each channel counts only above the free nats.  Kingma et al. 2016, eq. 15."""
        if self.free_nats == 0:
            return per_channel.sum(1)
        return per_channel.mean(0).clamp_min(self.free_nats).sum().expand(len(per_channel))


def divergence(mean: Tensor, logvar: Tensor, log_scale: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) || N(0, exp(log_scale)^2)) in nats, elementwise.  Kingma & Welling 2014, appendix B."""
    mean, logvar = mean * (-log_scale).exp(), logvar - 2 * log_scale  # in units of the scale
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
