"""Lookup-free quantization against another implementation."""

from typing import Any

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import LFQ

from vitrail.bottlenecks._bits import batch_entropy, sample_entropy
from vitrail.bottlenecks.lfq import Config, LookupFree


def quantizer(bits: int = 6, **settings: Any) -> LookupFree:
    """One that takes the signs of the very vectors it is given."""
    made = Config(**{"size": 2**bits, **settings}).build(bits)
    assert isinstance(made, LookupFree)
    with torch.no_grad():
        made.project.weight.copy_(torch.eye(bits))
        if made.project.bias is not None:
            made.project.bias.zero_()
    return made.train()


def cloud(bits: int = 6, count: int = 64) -> Tensor:
    """(2, C, N)"""
    return torch.randn(2, bits, count, generator=torch.Generator().manual_seed(bits))


@pytest.mark.parametrize("diversity", [1.0, 0.4])
@pytest.mark.parametrize("bits", [1, 2, 6])
def test_it_agrees_with_vector_quantize_pytorch(bits: int, diversity: float) -> None:
    """At a high temperature: theirs takes no logarithm below that of 1e-5, which makes entropies of sure codes too small.

    Theirs has the most significant bit first too, and reports terms in training only.
    """
    temperature = 6.0
    theirs = LFQ(
        codebook_size=2**bits,
        dim=bits,
        diversity_gamma=diversity,
        entropy_loss_weight=0.1,
        commitment_loss_weight=0.25,
    ).train()
    ours, x = quantizer(bits, temperature=temperature, diversity=diversity), cloud(bits)
    latent = ours(x)
    (z, codes, loss), parts = theirs(x.movedim(1, -1), inv_temperature=1 / temperature, return_loss_breakdown=True)
    assert torch.equal(latent.codes[:, 0], codes)
    torch.testing.assert_close(latent.z.movedim(1, -1), z, atol=1e-5, rtol=0)
    torch.testing.assert_close(latent.terms["commitment"], parts.commitment, atol=1e-5, rtol=0)
    logits = 4 / temperature * x.movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(sample_entropy(logits).mean(), parts.per_sample_entropy, atol=1e-5, rtol=0)
    torch.testing.assert_close(batch_entropy(logits), parts.batch_entropy, atol=1e-5, rtol=0)
    ours_weighed = 0.1 * latent.terms["entropy"] + 0.25 * latent.terms["commitment"]
    torch.testing.assert_close(ours_weighed, loss, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.codebook(), theirs.codebook)


def test_theirs_cuts_the_entropy_of_sure_codes_short() -> None:
    """Codes of probability p < 1e-5 add -p log p to the entropy; theirs counts -p log 1e-5, and has no gradient there."""
    bits, x, temperature = 4, torch.ones(1, 4, 1), 1 / 3
    *_, parts = LFQ(codebook_size=2**bits, dim=bits).train()(
        x.mT, inv_temperature=1 / temperature, return_loss_breakdown=True
    )
    codes = quantizer(bits).codebook().double()
    exact = torch.special.entr((2 * x[0].mT.double() @ codes.T / temperature).softmax(1)).sum()
    ours = sample_entropy(4 * x[0].mT / temperature)[0]
    torch.testing.assert_close(ours.double(), exact, atol=1e-8, rtol=1e-5)
    assert exact - parts.per_sample_entropy > 1e-2 * exact


def test_the_gradient_passes_straight_through_and_z_is_exact() -> None:
    made, x = quantizer(), (1e3 * cloud()).requires_grad_()
    latent = made(x)
    assert latent.z.abs().unique().tolist() == [1.0]
    weight = torch.randn_like(latent.z)
    (latent.z * weight).sum().backward()
    assert torch.equal(x.grad, weight)


def test_codes_do_not_depend_on_the_scale() -> None:
    made, x = quantizer().eval(), cloud()
    assert torch.equal(made(x).codes, made(1e-3 * x).codes)
    assert torch.equal(made(x).codes, made(1e3 * x).codes)


def test_zero_is_the_first_code() -> None:
    latent = quantizer().eval()(torch.zeros(1, 6, 2))
    assert latent.codes.tolist() == [[[0, 0]]]
    assert latent.z.unique().tolist() == [-1.0]


def test_evaluation_judges_as_training_does() -> None:
    made, x = quantizer(), cloud()
    training, evaluation = made(x).terms, made.eval()(x).terms
    assert {name: term.tolist() for name, term in training.items()} == {
        name: term.tolist() for name, term in evaluation.items()
    }
