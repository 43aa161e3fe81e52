"""Codes made of bits: their numbers, and entropies over all of them that are exact without a table of vectors times codes.

The probability of a code c in {-1, 1}^d given a vector z, a softmax of 2 z c / tau over all 2^d codes, is a product over bits:
each is 1 with the probability sigmoid(4 z_i / tau) on its own. "Logits" below are these 4 z_i / tau, one per bit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.bottlenecks._weighing import Again
from vitrail.processes import averaged

MOST = 24  # bits of a code
EXACT = 20  # bits up to which the batch entropy is that of whole codes
CHUNK = 1 << 22  # probabilities of half codes at a time, 16 MiB; more are made again for the gradient, not kept


def power_of_two(size: int) -> int:
    """The size itself. Raises ValueError, naming the nearest ones, where it is no power of 2."""
    if size & (size - 1):
        below = 1 << (size.bit_length() - 1)
        raise ValueError(f"{size} is no power of 2; the nearest are {below} and {2 * below}")
    return size


def channels_for(size: int) -> int:
    """log2 of the size; a single code has one channel too, which says nothing."""
    return max(1, size.bit_length() - 1)


def numbered(bits: Tensor, size: int) -> Tensor:
    """Bits (..., d), true or false, -> numbers (...) int64 below `size`; the first bit is the most significant."""
    return (bits * _worth(bits.shape[-1], bits.device)).sum(-1).clamp_max(size - 1)


def signs(codes: Tensor, bits: int) -> Tensor:
    """Numbers (...) -> (..., d), -1 where a bit is 0 and 1 where it is 1."""
    return 2.0 * (codes[..., None] // _worth(bits, codes.device) % 2) - 1


def _worth(bits: int, device: torch.device) -> Tensor:
    """(d,) of each bit in a code's number; shifts would do, but not in every runtime to which graphs are exported."""
    return 2 ** torch.arange(bits - 1, -1, -1, device=device)


def spread(logits: Tensor, diversity: float, shared: bool) -> Tensor:
    """Mean H(p | z) - diversity * H(E p) in nats: low where vectors are sure of their codes and all codes are in use.

    logits: (N, d).   shared: E p is the mean over all processes.
    Source: Yu et al. 2023, "Language model beats diffusion", eq. 4.
    """
    if torch.compiler.is_exporting():
        return logits.new_zeros(())  # an exported graph has no terms
    return sample_entropy(logits).mean() - diversity * batch_entropy(logits, shared)


def sample_entropy(logits: Tensor) -> Tensor:
    """(N, d) -> (N,) nats, the entropy of each vector's codes: the sum of those of its bits."""
    size = logits.abs()
    return (F.softplus(-size) + size * torch.sigmoid(-size)).sum(1)  # both positive, so nothing cancels


def batch_entropy(logits: Tensor, shared: bool = False) -> Tensor:
    """Entropy in nats of the mean over vectors of the probabilities of codes.

    Exact up to EXACT bits. More are cut into groups, and the sum of the entropies of groups is an upper bound.
    """
    groups = logits.tensor_split(-(-logits.shape[1] // EXACT), dim=1)
    return torch.stack([_entropy(averaged(_mean(group), shared)) for group in groups]).sum()


def _mean(logits: Tensor) -> Tensor:
    """(N, d) -> mean probability of each code, as a table of the first half of the bits against the second.

    Halves are independent given the vector: the table is one product of (2^a, N) with (N, 2^b).
    """
    rows = CHUNK >> (logits.shape[1] - logits.shape[1] // 2)
    if len(logits) <= rows:
        return _sum(logits)[0] / len(logits)
    total = logits.new_zeros(())
    for some in logits.split(rows):
        total = total + Again.apply(_sum, some)[0]
    return total / len(logits)


def _sum(logits: Tensor) -> tuple[Tensor]:
    """The table of `_mean`, but the sum."""
    half = logits.shape[1] // 2
    return (_patterns(logits[:, :half]).T @ _patterns(logits[:, half:]),)


def _patterns(logits: Tensor) -> Tensor:
    """(N, d) -> (N, 2^d) probability of each pattern of bits, in the order of their numbers."""
    table = logits.new_ones(len(logits), 1)
    for bit in logits.unbind(1):
        both = torch.stack([-bit, bit], dim=1).sigmoid()  # of 0 and of 1
        table = (table[:, :, None] * both[:, None, :]).flatten(1)
    return table


def _entropy(table: Tensor) -> Tensor:
    """In nats; where a probability is 0 the gradient is large but finite."""
    return -(table * table.clamp_min(torch.finfo(table.dtype).tiny).log()).sum()
