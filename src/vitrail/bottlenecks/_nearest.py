"""Nearest code, k-means and sums over processes: what codebooks are made of."""

from __future__ import annotations

import os
import shutil
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.networks.products import float32_products

# A tile of scores, 2 MiB, stays in a core's cache: whole rows of 65,536 scores took three times as long on two cores.
POINTS, CODES = 256, 2048
SLAB = 2**26  # scores at a time, 256 MiB, where there is neither such a cache nor the fused kernel
BLOCK = 256  # codes per block; only the winning block of each vector is looked at closely
CLOSELY = 2**16  # vectors at a time that are looked at closely in one block, 64 MiB of scores


def _can_fuse() -> bool:
    """Triton comes with CUDA builds of torch, but it builds its launchers with a C compiler and headers that may be missing."""
    compilers = [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"]
    header = Path(sysconfig.get_config_h_filename()).with_name("Python.h")
    return find_spec("triton") is not None and any(map(shutil.which, compilers)) and header.exists()


FUSED = _can_fuse()  # asked once, and a constant for torch.compile


@torch.no_grad()
def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """(N, D), (K, D) -> (N,) index of the code at the smallest Euclidean distance; the first of equals.

    Exact in float32, and no N x K matrix is kept. What is not finite gets some index below K.
    |v - e|^2 / 2 = |v|^2 / 2 + (|e|^2 / 2 - v e), so the smallest |e|^2 / 2 - v e wins. Both are moved to the middle of the
    codebook first: far from 0 the products are so large that distances drown in rounding.
    """
    centre = codebook.mean(0)
    codes = _with_bias(codebook - centre)
    points = F.pad(vectors - centre, (0, 1), value=1.0)  # (N, D + 1)
    return _smallest(points, codes).clamp_max(len(codebook) - 1)


def _smallest(points: Tensor, codes: Tensor) -> Tensor:
    """(N,) the code with the smallest score, found by what suits the device."""
    if torch.compiler.is_exporting():
        return _in_tiles(points, codes)
    if points.device.type == "cpu":
        return _within(points, codes, _winning_blocks(points, codes))
    if points.device.type == "cuda" and FUSED:
        from vitrail.bottlenecks import _nearest_triton

        return _nearest_triton.nearest(points, codes)
    return _in_slabs(points, codes)


def _in_tiles(points: Tensor, codes: Tensor) -> Tensor:
    """(N,) the code with the smallest score, for graphs in which N is open: nothing depends on it but sizes of tensors."""
    lowest, winners = (points @ codes[:CODES].T).min(1)
    for first in range(CODES, len(codes), CODES):
        low, winner = (points @ codes[first : first + CODES].T).min(1)
        winners, lowest = torch.where(low < lowest, winner + first, winners), torch.minimum(low, lowest)
    return winners


def _in_slabs(points: Tensor, codes: Tensor) -> Tensor:
    """(N,) the code with the smallest score, on any device: whole rows of scores, SLAB of them at a time."""
    rows = max(1, SLAB // len(codes))
    with float32_products():
        return torch.cat([(part @ codes.T).argmin(1) for part in points.split(rows)])


def _with_bias(codebook: Tensor) -> Tensor:
    """(K, D) -> (K', D + 1), rows (-e, |e|^2 / 2), so that a product with (v, 1) is the score; K' is a multiple of BLOCK.

    Rows that fill up the last block never win.
    """
    codes = torch.cat([-codebook, 0.5 * codebook.square().sum(1, keepdim=True)], dim=1)
    filling = -len(codes) % BLOCK
    codes = F.pad(codes, (0, 0, 0, filling))
    codes[len(codes) - filling :, -1] = torch.inf
    return codes


def _winning_blocks(points: Tensor, codes: Tensor) -> Tensor:
    """(N,) which block of codes holds the smallest score of each point.

    Tiles have codes first: the minimum over codes then runs along whole vector registers, four times as fast as along a row.
    """
    blocks, tile = len(codes) // BLOCK, points.new_empty(CODES * POINTS)
    winners = points.new_zeros(len(points), dtype=torch.int64)
    if blocks == 1:
        return winners
    for part, winner in zip(points.split(POINTS), winners.split(POINTS), strict=True):
        columns, lowest = part.T.contiguous(), points.new_empty(blocks, len(part))
        for some, low in zip(codes.split(CODES), lowest.split(CODES // BLOCK), strict=True):
            scores = torch.mm(some, columns, out=tile[: len(some) * len(part)].view(len(some), len(part)))
            torch.amin(scores.unflatten(0, (-1, BLOCK)), 1, out=low)
        winner.copy_(lowest.min(0).indices)
    return winners


def _within(points: Tensor, codes: Tensor, block: Tensor) -> Tensor:
    """(N,) the code with the smallest score within the given block of each point; points of one block go together."""
    order = block.argsort(stable=True)
    counts = torch.bincount(block, minlength=len(codes) // BLOCK).tolist()
    found = [
        (some @ few.T).min(0).indices
        for some, part in zip(codes.split(BLOCK), points[order].split(counts), strict=True)
        for few in part.split(CLOSELY)
        if len(few)
    ]
    inside = torch.empty_like(block)
    inside[order] = torch.cat(found)
    return block * BLOCK + inside


@torch.no_grad()
def kmeans(vectors: Tensor, size: int, generator: torch.Generator, rounds: int = 10) -> tuple[Tensor, Tensor]:
    """(N, D) -> centroids (K, D), counts (K,) after Lloyd's rounds; an empty cluster keeps its centroid and counts 0."""
    centroids = vectors[pick(len(vectors), size, generator)]
    for _ in range(rounds):
        sums, counts = assigned(vectors, nearest(vectors, centroids), size)
        centroids = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centroids)
    return centroids, assigned(vectors, nearest(vectors, centroids), size)[1]


@torch.no_grad()
def assigned(vectors: Tensor, codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Sum (K, D) and number (K,) of the vectors that each code won; no one-hot matrix."""
    sums = vectors.new_zeros(size, vectors.shape[1]).index_add_(0, codes, vectors)
    return sums, torch.bincount(codes, minlength=size).to(vectors.dtype)


def pick(available: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Indices of `wanted` of `available` rows, without repeats while there are enough."""
    order = torch.randperm(available, generator=generator)
    return order.repeat(-(-wanted // available))[:wanted]
