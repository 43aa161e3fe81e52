"""What moves a state, and its gradient without kept states: on the way back every move is undone.

Source: Jones & Gacon 2020, "Efficient calculation of gradients in classical simulations of variational quantum algorithms".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# The first of the wires that the next matrix acts on; or a factor per amplitude; or the place that each amplitude is
# taken from, and the place that it goes back to.
Move = int | Tensor | tuple[Tensor, Tensor]


def moved(state: Tensor, move: Move, matrix: Tensor | None = None) -> Tensor:
    """State (B, 2^n) -> the next one.   matrix: (d, d), or (B, d, d) with one of each sample, where wires are mixed."""
    if isinstance(move, tuple):
        return placed(state, *move)
    if isinstance(move, Tensor):
        return state * move
    assert matrix is not None
    before, size, own = 2**move, matrix.shape[-1], matrix.dim() == 3
    if before * size == state.shape[1]:  # the last wires
        rows = state.view(len(state), before, size) if own else state.view(-1, size)
        return (rows @ matrix.mT).view_as(state)
    if own:
        return (matrix[:, None] @ state.view(len(state), before, size, -1)).view_as(state)
    parts = state.view(len(state) * before, size, -1)
    return torch.bmm(matrix.expand(len(parts), size, size), parts).view_as(state)


def placed(state: Tensor, places: Tensor, back: Tensor) -> Tensor:
    """State (B, 2^n) with each amplitude taken from its place.   places, back: (2^n,) or (B, 2^n), inverse of each other."""
    taken: Tensor = _Placed.apply(state, places, back)
    return taken


def adjoint(state: Tensor, moves: Sequence[Move], matrices: Sequence[Tensor]) -> Tensor:
    """The state after all moves; only this last one is kept for the gradient. The matrices are unitary, factors 1 or -1."""
    last: Tensor = _Adjoint.apply(state, moves, *matrices)
    return last


class _Placed(torch.autograd.Function):
    """The gradient of a permutation is its inverse, not a sum over places."""

    @staticmethod
    def forward(ctx: Any, state: Tensor, places: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(places, back)
        return state.index_select(1, places) if places.dim() == 1 else state.gather(1, places)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        places, back = ctx.saved_tensors
        return placed(slope, back, places), None, None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, state: Tensor, moves: Sequence[Move], *matrices: Tensor) -> Tensor:
        remaining = iter(matrices)
        for move in moves:
            state = moved(state, move, next(remaining) if isinstance(move, int) else None)
        ctx.moves = moves
        ctx.save_for_backward(state, *matrices)
        return state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        state, *matrices = ctx.saved_tensors
        slope = slope.contiguous()
        slopes: list[Tensor] = []
        for move in reversed(ctx.moves):
            undo = move[::-1] if isinstance(move, tuple) else move
            undoing = matrices.pop().mH if isinstance(move, int) else None
            state = moved(state, undo, undoing)
            if undoing is not None:
                slopes.append(_outer(slope, state, move, undoing))
            slope = moved(slope, undo, undoing)
        return slope, None, *reversed(slopes)


def _outer(slope: Tensor, state: Tensor, first: int, matrix: Tensor) -> Tensor:
    """The slope of a matrix: the sum of the slope times the conjugate state before it."""
    shape = (len(state), 2**first, matrix.shape[-1], -1)
    own = "r" if matrix.dim() == 3 else ""
    return torch.einsum(f"rpac,rpbc->{own}ab", slope.view(shape), state.conj().view(shape))
