"""Maps whose sides are no multiple of a patch."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def padded(z: Tensor, patch: int) -> Tensor:
    """Zeros behind every space axis of (B, C, *S) up to a multiple of the patch."""
    missing = [-side % patch for side in z.shape[2:]]
    return F.pad(z, [pad for side in reversed(missing) for pad in (0, side)]) if any(missing) else z


def cropped(x: Tensor, space: Sequence[int]) -> Tensor:
    """The first points along every space axis."""
    for axis, side in enumerate(space, 2):
        x = x.narrow(axis, 0, side)
    return x
