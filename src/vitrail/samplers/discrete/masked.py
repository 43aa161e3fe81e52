"""Draw tokens several at a time, each from its distribution given those that are known; what was known stays.

Which ones come next is the order:
"confidence": those drawn with most certainty, plus noise that fades.  MaskGIT, Chang et al. 2022, section 3.2.
a tensor of places: that fixed order, for example `halton`.  Besnier et al. 2025.
"random": every token at a time of its own, uniform in [0, 1], in equal steps of time: ancestral sampling of masked diffusion.
Sahoo et al. 2024, eq. 7.
"first-hitting": the same times, one token at a time, so that no two are drawn at once; exact, whatever `steps` says.
Zheng et al. 2024, section 3.2.
"shuffled": the order of these times, as many at each step as in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import pi, prod

import numpy as np
import torch
from torch import Tensor

from vitrail.samplers.discrete.autoregressive import draw, truncated

# logits(tokens (B, T), -1 where unknown; places (B, N); share (B,) of what was unknown that is drawn by now) -> (B, N, K)
Logits = Callable[[Tensor, Tensor, Tensor], Tensor]


def sample(
    logits: Logits,
    tokens: Tensor,
    noise: Tensor,
    *,
    order: str | Tensor,
    steps: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    remask: float = 0.0,
    spread: float = 0.0,
) -> Tensor:
    """tokens (B, T) with every -1 filled in; row b depends on its tokens and noise[b], of `noise_shape`, only.

    remask: probability with which, at each step, a token drawn before is taken back and drawn anew together with that step's: a
    corrector in the manner of ReMDM, Wang et al. 2025.
    spread: of the Gumbel noise on log-probabilities in the order of confidence, times the share of steps that are left.
    """
    gaps = tokens < 0
    total = gaps.sum(1)
    until, rank = _plan(order, gaps, noise[:, 0, 1], steps)
    before = torch.zeros_like(total)
    for step, after in enumerate(until.unbind(1)):
        uniform, second = noise[:, min(step, noise.shape[1] - 1)].unbind(1)  # each (B, T)
        again = gaps & (tokens >= 0) & (second < remask) & (before < total)[:, None]
        tokens = tokens.masked_fill(again, -1)
        due = (rank >= before[:, None]) & (rank < after[:, None]) if rank is not None else gaps & (tokens < 0) & ~again
        wanted = due | again
        most = int(wanted.sum(1).max()) if wanted.numel() else 0
        if most:
            places = wanted.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
            chances = truncated(
                logits(tokens, places, before / total.clamp_min(1)).double().flatten(0, 1), temperature, top_k, top_p
            )
            found = draw(chances, uniform.gather(1, places).flatten())
            kept = wanted.gather(1, places)
            if rank is None:
                certainty = chances.gather(1, found[:, None]).log().view_as(places)
                certainty = certainty + spread * (1 - (step + 1) / steps) * gumbel(second.gather(1, places))
                kept = _surest(certainty, kept, again.gather(1, places), after - before)
            tokens = tokens.scatter(1, places, found.view_as(places).where(kept, tokens.gather(1, places)))
        before = after
    return tokens


def noise_shape(order: str | Tensor, steps: int, length: int, remask: float = 0.0) -> tuple[int, int, int]:
    """(rounds, 2, T): uniform numbers that a sample of `length` tokens takes: for drawing, and for choosing what to draw."""
    if not remask and order != "confidence":
        return 1, 2, length  # nothing is drawn twice
    return length if order == "first-hitting" else steps, 2, length


def revealed(count: Tensor, steps: int) -> Tensor:
    """(B, steps): how many of `count` (B,) tokens are known after each step: few first, by a cosine, at least one a step.

    Source: Chang et al. 2022, section 3.3.
    """
    step = torch.arange(1, steps + 1, device=count.device)
    hidden = (count[:, None] * torch.cos(step.double() * (pi / 2 / steps))).floor().long()
    hidden[:, -1] = 0
    return (count[:, None] - hidden).maximum(torch.minimum(step, count[:, None]))


@lru_cache(maxsize=64)
def halton(grid: tuple[int, ...], levels: int = 1) -> Tensor:
    """(T,): the places of a grid of tokens, levels fastest, in an order that spreads over it evenly: coarse levels first.

    Cells in the order in which the Halton sequence of bases 2, 3, 5 first meets them.  Besnier et al. 2025, section 3.3.
    """
    assert len(grid) <= 3
    cells, points = prod(grid), 4 * prod(grid)
    while True:
        index = np.zeros(points, dtype=np.int64)
        for side, prime in zip(grid, (2, 3, 5), strict=False):
            index = index * side + (_van_der_corput(points, prime) * side).astype(np.int64)
        met, first = np.unique(index, return_index=True)
        if len(met) == cells:
            break
        points *= 2
    places = torch.from_numpy(met[first.argsort()])
    return (places[None, :] * levels + torch.arange(levels)[:, None]).flatten()


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel numbers from uniform ones in [0, 1)."""
    tiny = torch.finfo(torch.float64).tiny
    return -(-uniform.double().clamp_min(tiny).log()).clamp_min(tiny).log()


def _plan(order: str | Tensor, gaps: Tensor, times: Tensor, steps: int) -> tuple[Tensor, Tensor | None]:
    """Known tokens after each step (B, steps), and the turn (B, T) of each gap, T of what is known; None: as it comes."""
    total = gaps.sum(1)
    if isinstance(order, Tensor):
        return revealed(total, steps), _turns(order.to(gaps.device).argsort().expand_as(gaps), gaps)
    if order == "confidence":
        return revealed(total, steps), None
    rank = _turns(1 - times, gaps)  # time runs from 1 down to 0
    if order == "shuffled":
        return revealed(total, steps), rank
    if order == "first-hitting":
        longest = int(total.max()) if len(total) else 0
        return torch.arange(1, longest + 1, device=gaps.device).minimum(total[:, None]), rank
    assert order == "random"
    limits = 1 - torch.arange(1, steps + 1, device=gaps.device).double() / steps
    return (gaps[:, None] & (times[:, None] >= limits[:, None])).sum(2), rank


def _turns(score: Tensor, gaps: Tensor) -> Tensor:
    """(B, T): how many gaps have a lower score (B, T); T where there is none."""
    order = score.double().masked_fill(~gaps, torch.inf).argsort(dim=1, stable=True)
    return order.argsort(dim=1).masked_fill(~gaps, gaps.shape[1])


def _surest(certainty: Tensor, wanted: Tensor, again: Tensor, count: Tensor) -> Tensor:
    """Which (B, N) to keep: the `count` (B,) surest of the wanted ones, and all that are drawn again."""
    certainty = certainty.masked_fill(~wanted, -torch.inf).masked_fill(again, torch.inf)
    rank = certainty.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return rank < (count + again.sum(1))[:, None]


def _van_der_corput(count: int, base: int) -> np.ndarray:
    """The radical inverses of 1 ... count: digits in this base, mirrored at the point."""
    index, value, scale = np.arange(1, count + 1), np.zeros(count), 1.0
    while index.any():
        index, digit = np.divmod(index, base)
        scale /= base
        value += scale * digit
    return value
