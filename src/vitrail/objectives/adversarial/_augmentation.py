"""Differentiable augmentation of the discriminator's input, for real and generated samples alike.

A discriminator that learns from few samples soon memorises them. Augmentation gives it more to learn, and because generated
samples are augmented in the same way, the decoder does not learn to imitate the augmentation.

Source: Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training": colour, translation and cutout.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOVE = 1 / 8  # of a side, at most
CUT = 1 / 2  # side of what is cut out, of the sample's
COLOURS = 3  # brightness, saturation, contrast


def drawn(x: Tensor) -> Tensor:
    """(B, N) uniform in [-1, 1], from torch's global generator: what `changed` wants to know of each sample."""
    return torch.rand(len(x), COLOURS + 2 * (x.dim() - 2), device=x.device) * 2 - 1


def changed(x: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Samples (B, C, *S) in [0, 1], changed as `draws` (B, N) says; `strength` in (0, 1] scales every change.

    Sources as above; what moves in from outside and what is cut out is 0.
    """
    dims = x.dim() - 2
    colour, moves, places = (strength * draws).split([COLOURS, dims, dims], dim=1)
    return _cut(_moved(_coloured(x, colour), moves), places / strength, strength)


def _coloured(x: Tensor, colour: Tensor) -> Tensor:
    """Brightness by up to 0.5, saturation from 0 to 2 times, contrast from 0.5 to 1.5 times."""
    bright, saturation, contrast = (each.view(-1, *(1,) * (x.dim() - 1)) for each in colour.unbind(1))
    x = x + 0.5 * bright
    grey = x.mean(1, keepdim=True)
    x = grey + (1 + saturation) * (x - grey)
    mean = x.flatten(1).mean(1).view_as(bright)
    return mean + (1 + 0.5 * contrast) * (x - mean)


def _moved(x: Tensor, moves: Tensor) -> Tensor:
    for axis, by in enumerate(moves.unbind(1), start=2):
        side = x.shape[axis]
        source = torch.arange(side, device=x.device) - (by * MOVE * side).round().long().unsqueeze(1)  # (B, side)
        shape = (len(x), *(1,) * (axis - 1), side, *(1,) * (x.dim() - axis - 1))
        index = source.clamp(0, side - 1).view(shape).expand_as(x)
        inside = (source >= 0) & (source < side)
        x = x.gather(axis, index) * inside.view(shape)
    return x


def _cut(x: Tensor, places: Tensor, strength: float) -> Tensor:
    """Without a box whose middle lies anywhere in the sample."""
    box = torch.ones(len(x), *(1,) * (x.dim() - 1), dtype=torch.bool, device=x.device)
    for axis, place in enumerate(places.unbind(1), start=2):
        side = x.shape[axis]
        away = (torch.arange(side, device=x.device) + 0.5 - (place.unsqueeze(1) + 1) / 2 * side).abs()
        near = away < strength * CUT * side / 2
        box = box & near.view(len(x), *(1,) * (axis - 1), side, *(1,) * (x.dim() - axis - 1))
    return x * ~box
