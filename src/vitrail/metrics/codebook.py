"""How much of a codebook is in use, from counts over a whole data set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.errors import UsageError


@dataclass(frozen=True)
class CodebookUse:
    """Use of a codebook; a token is one code of one level."""

    usage: float  # share of all Q * K codes that occur at least once
    perplexity: float  # 2 ** bits: the size of an evenly used codebook of the same rate
    bits: float  # entropy per token, the mean over levels; at most log2 K


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
    return CodebookUse(usage=float((counts > 0).double().mean()), perplexity=2.0**bits, bits=bits)


def entropy(probability: Tensor) -> Tensor:
    """Shannon entropy in bits of each row.   probability: (Q, K).   Returns (Q,)."""
    return torch.special.entr(probability).sum(1) / math.log(2)
