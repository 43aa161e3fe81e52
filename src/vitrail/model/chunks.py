"""Arithmetic in chunks of fixed size: matrix kernels round differently for different batch sizes, samples must not."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

LARGEST = 64  # samples computed together, at most


def rows(shape: tuple[int, ...], budget: int = 1 << 16) -> int:
    """How many samples of this shape form a chunk: a power of two that depends on nothing else."""
    fitting = max(1, min(LARGEST, budget // max(1, prod(shape))))
    return 1 << (fitting.bit_length() - 1)


def in_chunks(function: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
    """function(x) computed `size` rows at a time; the last chunk is filled up with its own last row.

    Every chunk has the same layout in memory as well: convolutions round differently where channels come last.
    """
    parts = []
    for part in x.split(size):
        missing = size - len(part)
        full = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part
        parts.append(function(full.clone(memory_format=torch.contiguous_format))[: len(part)])
    return torch.cat(parts)
