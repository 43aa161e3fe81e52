"""What several discriminators are made of."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.networks.convolution import CONV

SLOPE = 0.2  # of the leaky ReLU below 0


def halvings(side: int, most: int) -> int:
    """How often a side is halved, rounding up, until at most so many points are left."""
    count = 0
    while side > most:
        side, count = -(-side // 2), count + 1
    return count


def padded(x: Tensor, multiple: int) -> Tensor:
    """(B, C, *S) with zeros after the far edges until every axis is a multiple; no copy where it is one."""
    missing = [-side % multiple for side in x.shape[2:]]
    return F.pad(x, [pad for side in reversed(missing) for pad in (0, side)]) if any(missing) else x


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


def convolution(dims: int, inner: int, outer: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    """A convolution to be followed by `leaky`, which keeps the mean square of what passes both (He et al. 2015).

    An odd kernel keeps the size; one of 4 with stride 2 halves even sizes.
    """
    made: nn.Module = CONV[dims](inner, outer, kernel, stride, padding=(kernel - 1) // 2)
    return prepared(made)


def prepared(layer: nn.Module) -> nn.Module:
    """Fresh weights for a layer to be followed by `leaky`."""
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    nn.init.kaiming_normal_(layer.weight, SLOPE)
    nn.init.zeros_(layer.bias)
    return layer
