"""Penalties on the slope of a discriminator. They differentiate twice, so they compute in float32 whatever the autocast."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vitrail.networks.discriminator._discriminator import Opinion

Judge = Callable[[Tensor], Opinion]  # a discriminator, or one that is shown changed samples


def r1(judge: Judge, real: Tensor) -> Tensor:
    """Half the mean squared length of the slope at data (B, C, *S).  Mescheder et al. 2018, eq. 9 with gamma 1."""
    return 0.5 * slope(judge, real).square().sum(1).mean()


def gradient_penalty(judge: Judge, real: Tensor, fake: Tensor) -> Tensor:
    """How far the length of the slope is from 1 between data and made samples, squared.  Gulrajani et al. 2017, eq. 3.

    The points between are drawn from torch's global generator.
    """
    between = torch.rand(len(real), *(1,) * (real.dim() - 1), device=real.device)
    norm = slope(judge, torch.lerp(real, fake, between)).norm(dim=1)
    return (norm - 1).square().mean()


def slope(judge: Judge, x: Tensor) -> Tensor:
    """(B, C * S): the gradient of each sample's mean logit by the sample itself, which can be differentiated again."""
    x = x.detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        logits = judge(x).logits.float()
        total = logits.flatten(1).mean(1).sum() if logits.dim() > 1 else logits.sum()
        (gradient,) = torch.autograd.grad(total, x, create_graph=True)
    return gradient.flatten(1)
