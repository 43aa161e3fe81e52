"""Units and their slopes against torch's own norm and finite differences."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import rms_norm

from vitrail.networks.rms_norm import EPS, RMSNorm, rotate, rotated_unit, unit


def turns(x: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of angles, of every token its own."""
    angles = torch.randn(x.shape[-2], x.shape[-1] // 2, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    return angles.cos(), angles.sin()


@pytest.mark.parametrize("format", [torch.float64, torch.float32, torch.bfloat16])
def test_a_unit_is_what_torch_calls_rms_norm(format: torch.dtype) -> None:
    x = torch.randn(3, 5, 8).to(format)
    found = unit(x)
    assert found.dtype == format
    torch.testing.assert_close(found, rms_norm(x, (8,), eps=EPS))


def test_slopes_are_those_of_finite_differences() -> None:
    x = torch.randn(2, 3, 5, 8, dtype=torch.float64, requires_grad=True)
    cos, sin = turns(x)
    assert gradcheck(unit, x)
    assert gradcheck(lambda x: rotated_unit(x, cos, sin), x)
    assert gradcheck(lambda x: rotated_unit(x.transpose(1, 2), *turns(x.transpose(1, 2))), x)


@pytest.mark.parametrize("layout", ["contiguous", "strided"])
@pytest.mark.parametrize("format", [torch.float32, torch.bfloat16])
def test_rotated_at_once_or_one_after_the_other(layout: str, format: torch.dtype) -> None:
    x = torch.randn(2, 5, 3, 8).transpose(1, 2) if layout == "strided" else torch.randn(2, 3, 5, 8)
    x = x.to(format).requires_grad_()
    cos, sin = turns(x.float())
    wanted, found = rotate(unit(x), cos, sin), rotated_unit(x, cos, sin)
    given = torch.randn_like(wanted)
    slopes = [torch.autograd.grad(each, x, given)[0] for each in (wanted, found)]
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if format == torch.float32 else {"atol": 0.06, "rtol": 0.03}
    torch.testing.assert_close(found, wanted, **tolerance)
    torch.testing.assert_close(slopes[1], slopes[0], **tolerance)


def test_a_norm_is_torch_s_with_its_weights() -> None:
    own, theirs = RMSNorm(8), torch.nn.RMSNorm(8, eps=EPS)
    own.weight.data = torch.rand(8)
    theirs.load_state_dict(own.state_dict())
    x = torch.randn(4, 8)
    torch.testing.assert_close(own(x), theirs(x))


def test_zeros_stay_zeros() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    unit(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert not unit(x).any()


def test_a_second_slope_is_refused() -> None:
    x = torch.randn(2, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(unit(x).square().sum() + unit(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()
