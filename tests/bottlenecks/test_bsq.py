"""Binary spherical quantization against another implementation."""

from typing import Any

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import LFQ

from vitrail.bottlenecks.bsq import SHORTEST, BinarySpherical, Config


def quantizer(bits: int = 6, **settings: Any) -> BinarySpherical:
    """One that quantizes the very vectors it is given."""
    made = Config(**{"size": 2**bits, **settings}).build(bits)
    assert isinstance(made, BinarySpherical)
    with torch.no_grad():
        made.project.weight.copy_(torch.eye(bits))
        made.project.bias.zero_()
    return made.train()


def cloud(bits: int = 6, count: int = 64) -> Tensor:
    """(2, C, N)"""
    return torch.randn(2, bits, count, generator=torch.Generator().manual_seed(bits))


@pytest.mark.parametrize("bits", [1, 2, 6])
def test_it_agrees_with_vector_quantize_pytorch(bits: int) -> None:
    """At the paper's temperature, where no probability falls below the 1e-5 at which theirs cuts logarithms off."""
    theirs = LFQ(codebook_size=2**bits, dim=bits, spherical=True).train()
    ours, x = quantizer(bits, temperature=1.0), cloud(bits)
    latent = ours(x)
    (z, codes, loss), _ = theirs(x.movedim(1, -1), inv_temperature=1.0, return_loss_breakdown=True)
    assert torch.equal(latent.codes[:, 0], codes)
    torch.testing.assert_close(latent.z.movedim(1, -1), z, atol=1e-5, rtol=0)
    torch.testing.assert_close(0.1 * latent.terms["entropy"], loss, atol=1e-5, rtol=0)
    assert set(latent.terms) == {"entropy", "evenness"}


def test_codes_and_vectors_lie_on_the_unit_sphere() -> None:
    made = quantizer()
    torch.testing.assert_close(made.codebook().norm(dim=1), torch.ones(64))
    torch.testing.assert_close(made(cloud()).z.norm(dim=1), torch.ones(2, 64))


def test_the_corner_is_the_nearest_code() -> None:
    made, x = quantizer().eval(), cloud()
    points = torch.nn.functional.normalize(x.movedim(1, -1), dim=-1)
    assert torch.equal(made(x).codes[:, 0], torch.cdist(points, made.codebook()).argmin(-1))


def test_the_gradient_is_that_of_the_direction() -> None:
    """Straight through the rounding, then through the normalisation: no part of it along the vector."""
    made, x = quantizer(), cloud().requires_grad_()
    (made(x).z * torch.randn(2, 6, 64)).sum().backward()
    torch.testing.assert_close((x.grad * x).sum(1), torch.zeros(2, 64), atol=1e-5, rtol=0)


def test_a_zero_vector_is_the_first_code_with_a_bounded_gradient() -> None:
    made, x = quantizer(), torch.zeros(1, 6, 3, requires_grad=True)
    latent = made(x)
    assert latent.codes.unique().tolist() == [0]
    assert latent.z.isfinite().all()
    (latent.z.sum() + latent.terms["entropy"]).backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() <= 2 / SHORTEST
