"""Windows on a grid of codes: the part that a prior sees at once where the whole is too large for it."""

from __future__ import annotations

import torch
from torch import Tensor

Sides = tuple[int, ...]  # one number per axis of the grid


def around(place: Sides, grid: Sides, window: Sides, hop: int = 1) -> Sides:
    """The corner of the window in which a place of the grid lies as centrally as the borders allow.

    hop: along the last axis the window stands at multiples of it only, so that up to hop - 1 places lie right of the middle.
    Source: Esser et al. 2021, section 3.3.
    """
    corner = [at - side // 2 for at, side in zip(place, window, strict=True)]
    if corner:
        corner[-1] -= corner[-1] % min(hop, window[-1] - window[-1] // 2)
    return tuple(min(max(first, 0), whole - side) for first, whole, side in zip(corner, grid, window, strict=True))


def cut(codes: Tensor, corner: Sides, window: Sides) -> Tensor:
    """The same window of every sample: codes (B, Q, *S) -> (B, Q, *window)."""
    for axis, (first, side) in enumerate(zip(corner, window, strict=True), start=2):
        codes = codes.narrow(axis, first, side)
    return codes


def random_corners(count: int, grid: Sides, window: Sides, device: torch.device) -> Tensor:
    """(B, axes): one corner per sample, every place that the window fits into equally often; by torch's own generator."""
    free = torch.tensor([whole - side + 1 for whole, side in zip(grid, window, strict=True)], device=device)
    return (torch.rand(count, len(grid), device=device, dtype=torch.float64) * free).long()


def cut_each(codes: Tensor, corners: Tensor, window: Sides) -> Tensor:
    """A window of its own for every sample: codes (B, Q, *S), corners (B, axes) -> (B, Q, *window)."""
    index = corners.new_zeros(len(codes), 1)  # of the places within the flattened grid
    for axis, side in enumerate(window):
        places = corners[:, axis, None] + torch.arange(side, device=codes.device)
        index = (index[:, :, None] * codes.shape[2 + axis] + places[:, None, :]).flatten(1)
    index = index[:, None].expand(-1, codes.shape[1], -1)
    return codes.flatten(2).gather(2, index).unflatten(2, window)


def grown(codes: Tensor, grid: Sides) -> Tensor:
    """codes (B, Q, *S) on a grid at least as large: the far edges repeated."""
    for axis, side in enumerate(grid, start=2):
        places = torch.arange(side, device=codes.device).clamp_max(codes.shape[axis] - 1)
        codes = codes.index_select(axis, places)
    return codes
