"""Distances between what a network's hidden layers see of two samples."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

SMALLEST = 1e-10  # of a length by which is divided


def unlikeness(a: Tensor, b: Tensor) -> Tensor:
    """(B, C, *S): squared differences of the channels, which at every point are scaled to a vector of length 1.

    Where all channels are 0 they stay so, and no gradient passes.   Source: Zhang et al. 2018, eq. 1.
    """
    return (normalize(a, dim=1, eps=SMALLEST) - normalize(b, dim=1, eps=SMALLEST)).square()
