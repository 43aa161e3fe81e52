"""Muon beside torch's own, and its two forms beside each other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vitrail import processor
from vitrail.training import muon
from vitrail.training.muon import Muon, orthogonal

SHAPES = [(32, 32), (64, 48), (48, 64), (32, 288), (288, 32), (128, 1152)]


def matrix(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    values = torch.linalg.svdvals(orthogonal(matrix(shape), torch.float32))
    assert values.max() < 1.3
    assert values.median() > 0.65


@pytest.mark.parametrize("shape", SHAPES)
def test_the_short_form_is_the_long_one(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    x = matrix(shape)
    short = orthogonal(x, torch.float32)
    monkeypatch.setattr(muon, "WIDE", 10**9)
    assert torch.allclose(short, orthogonal(x, torch.float32), atol=2e-4)


def test_gradients_of_almost_no_rank_stay_finite_and_bounded() -> None:
    """As they are at the start: a few large singular values, the others tiny."""
    x = matrix((64, 3)) @ matrix((3, 576), 1) + 1e-6 * matrix((64, 576), 2)
    made = orthogonal(x, torch.float32)
    assert made.isfinite().all()
    assert torch.linalg.matrix_norm(made, 2) < 1.3
    assert orthogonal(torch.zeros(4, 40), torch.float32).eq(0).all()


@pytest.mark.parametrize(("native", "small"), [(True, 0), (True, 256), (False, 0)])
def test_steps_are_those_of_torch(native: bool, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "multiplies", lambda _: native)
    monkeypatch.setattr(muon, "SMALL", small)
    ours, theirs = (nn.Parameter(matrix((64, 576))) for _ in range(2))
    settings = {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    optimisers = Muon([ours], **settings), torch.optim.Muon([theirs], **settings)
    for step in range(3):
        ours.grad = theirs.grad = matrix((64, 576), 10 + step)
        for optimiser in optimisers:
            optimiser.step()
    moved = (theirs - matrix((64, 576))).abs().mean()
    assert (ours - theirs).abs().mean() < 0.02 * moved  # torch rounds to bfloat16: 3 digits
    assert optimisers[0].state[ours].keys() == optimisers[1].state[theirs].keys()
    if native and not small:
        assert torch.equal(ours, theirs)
