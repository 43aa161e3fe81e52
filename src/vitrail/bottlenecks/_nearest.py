"""Nearest code, k-means and sums over processes: what codebooks are made of."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

ROWS = 1 << 22  # scores held at once: 16 MiB of float32, whatever the number of vectors


@torch.no_grad()
def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """(N, D), (K, D) -> (N,) index of the code at the smallest Euclidean distance; the first of equals.

    |v - e|^2 = |v|^2 - 2 (v e - |e|^2 / 2), so the largest score v e - |e|^2 / 2 wins; no N x K matrix is kept.
    Both are moved to the middle of the codebook first: far from 0 the products are so large that distances drown in rounding.
    """
    centre = codebook.mean(0)
    codebook = codebook - centre
    bias = -0.5 * codebook.square().sum(1)  # (K,)
    rows = max(1, ROWS // len(codebook))
    return torch.cat([torch.addmm(bias, part - centre, codebook.T).argmax(1) for part in vectors.split(rows)])


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


def summed(tensor: Tensor) -> Tensor:
    """The sum over all processes; the tensor itself where there is one."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def gathered(tensor: Tensor) -> Tensor:
    """(N, ...) of every process, joined in the order of ranks, which is the order of the global batch."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        tensor = torch.cat(parts)
    return tensor


def of_first(tensor: Tensor) -> Tensor:
    """What the first process holds: a GPU does not add up twice in the same order, so others may differ in the last bit."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        tensor = tensor.contiguous()
        dist.broadcast(tensor, src=0)
    return tensor
