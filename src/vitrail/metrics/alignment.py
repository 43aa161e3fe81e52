"""Distances between pictures after the small turn, zoom and move that bring them nearest to each other.

A model that was trained on changed pictures and has learnt them by heart draws them changed: a copy then is not where its
original is. The best change is searched coarsely at half the size first, for all candidates, then finely for the best of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = (8 * pi / 180, 0.08, 0.08, 0.08)  # first steps: turn in radians, log of the zoom, moves down and right in sides
COARSE, FINE = (1.0, 1.0, 0.5, 0.5), (0.25, 0.125)  # lengths of the steps of each round, relative to the first ones
KEPT = 4  # candidates that are aligned finely
SMALLEST = 16  # pixels of a side that is halved


def aligned(x: Tensor, candidates: Tensor) -> Tensor:
    """(B, K) distances of pictures x (B, C, h, w) to their candidates (B, K, C, h, w), aligned; those not kept as they are."""
    count = candidates.shape[1]
    rows, others = x.repeat_interleave(count, 0), candidates.flatten(0, 1)
    halve = min(x.shape[2:]) >= SMALLEST
    low, others_low = (F.avg_pool2d(each, 2) if halve else each for each in (rows, others))
    pose, coarse = _searched(low, others_low, torch.zeros(len(rows), 4).to(x), COARSE)
    kept = coarse.view(len(x), count).topk(min(KEPT, count), largest=False).indices  # (B, KEPT)
    flat = (kept + count * torch.arange(len(x), device=x.device)[:, None]).flatten()
    fine = _searched(rows[flat], others[flat], pose[flat], FINE)[1].view(kept.shape)
    found = _apart(rows, others).view(len(x), count)
    return torch.minimum(found, found.scatter(1, kept, fine))


def warped(x: Tensor, pose: Tensor) -> Tensor:
    """Pictures (N, C, h, w), each turned, zoomed and moved by its own pose (N, 4), edges repeated; units as in STEPS."""
    (height, width), inverse = x.shape[2:], (-pose[:, 1]).exp()
    cosine, sine = inverse * pose[:, 0].cos(), inverse * pose[:, 0].sin()
    down = torch.stack([sine * width / height, cosine, -2 * pose[:, 2]], 1)
    right = torch.stack([cosine, -sine * height / width, -2 * pose[:, 3]], 1)
    where = F.affine_grid(torch.stack([right, down], 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, where, padding_mode="border", align_corners=False)


def _searched(x: Tensor, others: Tensor, pose: Tensor, rounds: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Poses (N, 4) of the others (N, C, h, w) and distances (N,): steps along each axis that bring them nearer are taken."""
    best = _apart(x, warped(others, pose))
    for step in (step for length in rounds for step in _along_axes(length)):
        tried = pose + torch.tensor(step).to(pose)
        distance = _apart(x, warped(others, tried))
        pose = torch.where((distance < best)[:, None], tried, pose)
        best = torch.minimum(best, distance)
    return pose, best


def _along_axes(length: float) -> Iterator[list[float]]:
    for axis, size in enumerate(STEPS):
        for sign in (1, -1):
            yield [sign * length * size * (i == axis) for i in range(len(STEPS))]


def _apart(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).flatten(1).norm(dim=1)
