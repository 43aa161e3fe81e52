"""The check that two batches can be compared value by value."""

from __future__ import annotations

from torch import Tensor

from vitrail.errors import UsageError


def check_pair(x: Tensor, y: Tensor, space: int = 0) -> None:
    """Raises UsageError unless x and y are both (B, C, *S) of one shape, with at least `space` space axes."""
    if x.shape != y.shape:
        raise UsageError(f"two batches of one shape are compared, got {tuple(x.shape)} and {tuple(y.shape)}")
    if x.ndim < 2 + space:
        wanted = "(B, C, *S)" if not space else f"(B, C, *S) with at least {space} space axis"
        raise UsageError(f"wants {wanted}, got {tuple(x.shape)}")
