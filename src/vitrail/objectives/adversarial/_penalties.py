"""Penalties on the slope of a discriminator. They differentiate twice, so they compute in float32 whatever the autocast."""

from __future__ import annotations

import torch
from torch import Tensor

from vitrail.networks.discriminator._discriminator import Discriminator


def r1(discriminator: Discriminator, real: Tensor) -> Tensor:
    """Half the mean squared length of the slope at data (B, C, *S).  Mescheder et al. 2018, eq. 9 with gamma 1."""
    return 0.5 * slope(discriminator, real).square().sum(1).mean()


def gradient_penalty(discriminator: Discriminator, real: Tensor, fake: Tensor) -> Tensor:
    """How far the length of the slope is from 1 between data and made samples, squared.  Gulrajani et al. 2017, eq. 3.

    The points between are drawn from torch's global generator.
    """
    between = torch.rand(len(real), *(1,) * (real.dim() - 1), device=real.device)
    norm = slope(discriminator, torch.lerp(real, fake, between)).norm(dim=1)
    return (norm - 1).square().mean()


def slope(discriminator: Discriminator, x: Tensor) -> Tensor:
    """(B, C * S): the gradient of each sample's mean logit by the sample itself, which can be differentiated again."""
    x = x.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        logits = discriminator(x).logits.float()
        total = logits.flatten(1).mean(1).sum() if logits.dim() > 1 else logits.sum()
        (gradient,) = torch.autograd.grad(total, x, create_graph=True)
    return gradient.flatten(1)
