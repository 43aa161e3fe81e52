"""Small priors, small data, and a small loop that brings them together."""

import math
from typing import Any

import torch
from torch import Tensor

from vitrail.networks.denoiser import mlp, unet
from vitrail.priors import flow
from vitrail.priors._continuous import Continuous
from vitrail.types import Latent, LatentSpec

SMALL = mlp.Config(width=32, depth=2)


def build(
    part: Any = flow, classes: int = 3, shape: tuple[int, ...] = (2,), rough: bool = True, **settings: Any
) -> Continuous:
    """With a small net whose weights are not those of the start, if `rough`."""
    torch.manual_seed(0)
    net = unet.Config(width=8, blocks=1) if len(shape) > 1 else SMALL
    prior = part.Config(**settings).build(LatentSpec(shape), classes, settings.pop("conditional", False), net)
    for weight in prior.net.parameters() if rough else ():
        weight.data.copy_(0.2 * torch.randn(weight.shape))
    return prior


def labels(count: int) -> Tensor:
    return torch.arange(count) % 4 - 1


def latent(count: int, shape: tuple[int, ...] = (2,), seed: int = 1) -> Latent:
    return Latent(torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed)))


def learnt(prior: Continuous, batches: Any, steps: int, rate: float = 3e-3) -> Continuous:
    """After some steps on batches of z and label."""
    optimiser = torch.optim.AdamW(prior.train().parameters(), lr=rate, betas=(0.9, 0.99))
    torch.manual_seed(0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        prior.at(step / steps)
        loss = torch.stack([*prior.terms(*batches(step)).values()]).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return prior.eval()


CENTRES = 1.3 * torch.tensor([[math.cos(angle), math.sin(angle)] for angle in (0.0, 2.1, 4.2)])


def blobs(step: int, count: int = 256) -> tuple[Latent, Tensor]:
    """Three classes on a circle, of variance about 1."""
    generator = torch.Generator().manual_seed(step)
    label = torch.randint(0, 3, (count,), generator=generator)
    return Latent(CENTRES[label] + 0.2 * torch.randn(count, 2, generator=generator)), label
