"""How a codebook is used, from counts over a whole data set; and how its codes lie among each other."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.errors import UsageError

KEYS = 1 << 22  # codes sorted together, at most: 32 MiB
CELLS = 1 << 22  # distances in memory at a time: 16 MiB
ALL_OF, SOME_OF = 1 << 14, 1 << 10  # codebooks above the first size are judged by so many of their codes


@dataclass(frozen=True)
class CodebookUse:
    """Use of a codebook; a token is one code of one level."""

    usage: float  # share of all Q * K codes that occur at least once
    perplexity: float  # 2 ** bits: the size of an evenly used codebook of the same rate
    bits: float  # entropy per token, the mean over levels; at most log2 K
    dead: int  # codes of all levels that never occur


def count(codes: Tensor, size: int) -> Tensor:
    """How often each code occurs, per level; counts of several batches add up.

    codes: (B, Q, *S) integers below `size`.   Returns (Q, K) int64.   Raises UsageError on codes out of range.
    """
    if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < size:
        raise UsageError(f"codes must lie in 0..{size - 1}, got {int(codes.min())}..{int(codes.max())}")
    levels = codes.shape[1]
    per_level = codes.long().transpose(0, 1).flatten(1)  # (Q, B * prod(S))
    shifted = per_level + size * torch.arange(levels, device=codes.device)[:, None]
    return torch.bincount(shifted.flatten(), minlength=levels * size).view(levels, size)


def usage(counts: Tensor) -> CodebookUse:
    """Share used, perplexity and bits per token of a counted codebook.

    counts: (Q, K).   Raises UsageError where a level has no counts at all.
    The bits are the plug-in entropy: for fewer than some 10 tokens per code it is an underestimate.
    """
    total = counts.sum(1, keepdim=True)
    if counts.ndim != 2 or not bool((total > 0).all()):
        raise UsageError(f"wants counts (Q, K) with some tokens in every level, got shape {tuple(counts.shape)}")
    bits = float(entropy(counts.double() / total).mean())
    dead = int((counts == 0).sum())
    return CodebookUse(usage=(counts.numel() - dead) / counts.numel(), perplexity=2.0**bits, bits=bits, dead=dead)


def entropy(probability: Tensor) -> Tensor:
    """Shannon entropy in bits of each row.   probability: (Q, K).   Returns (Q,)."""
    return torch.special.entr(probability).sum(1) / math.log(2)


def histogram(counts: Tensor) -> Tensor:
    """Share of each code among the tokens of its level, the most used first.   counts: (Q, K).   Returns (Q, K) double."""
    shares = counts.double() / counts.sum(1, keepdim=True).clamp_min(1)
    return shares.sort(dim=1, descending=True).values


def position_bits(codes: Tensor, size: int) -> Tensor:
    """Entropy in bits of the codes that stand at each position of the grid, over a whole data set.

    codes: (N, Q, *S) integers below `size`.   Returns (Q, *S) double; at most log2 of the smaller of N and K.
    Exact, by sorting the N codes of a position: a table of positions times K codes is never made.
    """
    samples = len(codes)
    columns = codes.flatten(1).T  # (P, N), a position of a level each
    bits = [_row_bits(some, size) for some in columns.split(max(1, KEYS // max(samples, 1)))]
    return torch.cat(bits).view(codes.shape[1:])


def _row_bits(rows: Tensor, size: int) -> Tensor:
    """(P, N) codes -> (P,) entropy of each row."""
    place = torch.arange(len(rows), device=rows.device)
    keys, often = torch.unique(rows.long() + size * place[:, None], return_counts=True)
    each = torch.special.entr(often.double() / rows.shape[1]) / math.log(2)
    return each.new_zeros(len(rows)).index_add_(0, keys // size, each)


@torch.no_grad()
def neighbour_distances(codebook: Tensor) -> Tensor:
    """Distance of each code to its nearest other one, relative to the root mean square distance of codes from their mean.

    codebook: (K, D).   Returns (K,) or, of more than ALL_OF codes, SOME_OF values at evenly spaced codes; none where K < 2.
    0: another code is the same. No K x K matrix is kept.
    """
    if len(codebook) < 2:
        return codebook.new_zeros(0)
    points = codebook.float() - codebook.float().mean(0)  # near 0 products lose the fewest digits
    chosen = torch.arange(len(points), device=points.device)
    if len(points) > ALL_OF:
        chosen = torch.arange(SOME_OF, device=points.device) * len(points) // SOME_OF
    nearest = [_nearest_other(points, some) for some in chosen.split(max(1, CELLS // len(points)))]
    radius = points.square().sum(1).mean().sqrt().clamp_min(torch.finfo(points.dtype).tiny)
    return (points[chosen] - points[torch.cat(nearest)]).norm(dim=1) / radius


def _nearest_other(points: Tensor, chosen: Tensor) -> Tensor:
    """Index of the point nearest to each chosen one, itself excepted."""
    score = points.square().sum(1) / 2 - points[chosen] @ points.T  # half the squared distance, up to a constant
    score[torch.arange(len(chosen), device=points.device), chosen] = torch.inf
    return score.argmin(1)


def outermost(codebook: Tensor, counts: Tensor) -> float | None:
    """How often a coordinate of a used code is the lowest or highest of its axis; None where codes are no lattice.

    codebook: (K, D).   counts: (K,).   A lattice has all combinations of some values per axis, of one axis more than 2.
    """
    sizes = [len(axis.unique()) for axis in codebook.T]
    if math.prod(sizes) != len(codebook) or max(sizes, default=0) <= 2:
        return None
    wide = codebook[:, [size > 2 for size in sizes]]  # of two values, both are outermost
    at_edge = ((wide == wide.amin(0)) | (wide == wide.amax(0))).double().mean(1)
    return float((at_edge * counts).sum() / counts.sum().clamp_min(1))
