"""A range of strengths from which each sample draws its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import AfterValidator
from torch import Tensor


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= limits[0] <= limits[1]:
        raise ValueError(f"wants 0 <= least <= most, got {limits}")
    return limits


def _at_most_all(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[1] > 1:
        raise ValueError(f"wants shares of at most 1, got {limits}")
    return limits


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]  # (least, most), not negative
Share = Annotated[Range, AfterValidator(_at_most_all)]


def drawn(limits: tuple[float, float], x: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
    """One number per sample, evenly from the range, as (B, 1, ..., 1) to go with x."""
    values = torch.tensor([rng.uniform(*limits) for rng in rngs], dtype=x.dtype, device=x.device)
    return values.view(-1, *[1] * (x.ndim - 1))
