"""The prior's step: hints reach the prior, and a batch cut into rounds costs what the whole does."""

from __future__ import annotations

import pytest
import torch

from vitrail.priors.autoregressive import Config
from vitrail.training.gradient import cut
from vitrail.training.prior_step import CodeBatch, PriorStep
from vitrail.types import LatentSpec


def batch(conditional: bool) -> CodeBatch:
    codes = torch.randint(0, 7, (2, 6, 2, 3, 3), generator=torch.Generator().manual_seed(0))
    return CodeBatch(codes[0], torch.tensor([0, 1, -1, 0, 1, -1]), codes[1] if conditional else None)


def step(conditional: bool) -> PriorStep:
    torch.manual_seed(0)
    prior = Config(width=16, depth=1, heads=2).build(LatentSpec((4, 3, 3), 2, 7), 2, conditional)
    for weight in prior.parameters():
        weight.data = 0.3 * torch.randn(weight.shape)
    return PriorStep(prior).eval()


@pytest.mark.parametrize("conditional", [False, True])
def test_rounds_add_up_to_the_batch(conditional: bool) -> None:
    module, whole = step(conditional), batch(conditional)
    parts = [(module(part).terms["nats"], share) for part, share, _ in cut(whole, 3)]
    assert len(parts) == 3
    total = torch.stack([loss * share for loss, share in parts]).sum()
    torch.testing.assert_close(total, module(whole).terms["nats"])


def test_the_hint_reaches_the_prior() -> None:
    module, whole = step(True), batch(True)
    assert whole.condition is not None
    other = CodeBatch(whole.latent, whole.label, whole.condition.flip(0))
    assert module(other).terms["nats"] != module(whole).terms["nats"]
