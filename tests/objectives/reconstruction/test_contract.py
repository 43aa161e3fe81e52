"""What every likelihood in the folder must do; a new file is tested by existing."""

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.objectives.reconstruction._likelihood import Likelihood
from vitrail.types import Config

FOLDER = "objectives/reconstruction"
SPACES: tuple[tuple[int, ...], ...] = ((), (9,), (6, 5), (4, 3, 5))


def _build(name: str, channels: int) -> Likelihood:
    config: type[Config] = catalog.find(FOLDER, name).Config
    likelihood = config().build(channels)  # type: ignore[attr-defined]
    assert isinstance(likelihood, Likelihood)
    return likelihood


def _example(likelihood: Likelihood, space: tuple[int, ...], scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    params = scale * torch.randn(4, likelihood.outputs, *space, generator=generator)
    x = torch.randint(0, 256, (4, likelihood.channels, *space), generator=generator) / 255
    return params.requires_grad_(), x


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", catalog.names(FOLDER))
def test_shapes_and_range(name: str, space: tuple[int, ...], channels: int) -> None:
    likelihood = _build(name, channels)
    params, x = _example(likelihood, space)
    terms = likelihood.terms(params, x)
    mean = likelihood.mean(params)
    assert list(terms) == ["reconstruction"]
    assert terms["reconstruction"].shape == (4,)
    assert mean.shape == x.shape
    assert mean.min() >= 0
    assert mean.max() <= 1


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
@pytest.mark.parametrize("name", catalog.names(FOLDER))
def test_gradient_is_finite_even_far_out(name: str, scale: float) -> None:
    likelihood = _build(name, 3)
    params, x = _example(likelihood, (6, 5), scale)
    likelihood.terms(params, x)["reconstruction"].sum().backward()
    assert params.grad is not None
    assert params.grad.isfinite().all()
    assert params.grad.abs().sum() > 0


@pytest.mark.parametrize("name", catalog.names(FOLDER))
def test_arithmetic_is_float32_under_autocast(name: str) -> None:
    likelihood = _build(name, 3).eval()
    params, x = _example(likelihood, (6, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = likelihood.terms(params.bfloat16(), x)["reconstruction"], likelihood.mean(params.bfloat16())
    plain = likelihood.terms(params.bfloat16().float(), x)["reconstruction"], likelihood.mean(params.bfloat16().float())
    for ours, expected in zip(under, plain, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("name", catalog.names(FOLDER))
def test_descending_the_cost_reconstructs_the_data(name: str) -> None:
    likelihood = _build(name, 3)
    params, x = _example(likelihood, (4, 4))
    optimiser = torch.optim.Adam([params, *likelihood.parameters()], lr=0.05)
    start = (likelihood.mean(params) - x).abs().mean().item()
    for _ in range(200):
        optimiser.zero_grad()
        likelihood.terms(params, x)["reconstruction"].mean().backward()
        optimiser.step()
    assert (likelihood.mean(params) - x).abs().mean().item() < 0.15 * start


@pytest.mark.parametrize("name", catalog.names(FOLDER))
def test_a_sample_is_judged_alone_in_evaluation(name: str) -> None:
    likelihood = _build(name, 3).eval()
    params, x = _example(likelihood, (4, 4))
    whole = likelihood.terms(params, x)["reconstruction"]
    torch.testing.assert_close(likelihood.terms(params[1:2], x[1:2])["reconstruction"], whole[1:2])


@pytest.mark.parametrize("name", catalog.names(FOLDER))
def test_outputs_around_zero_are_mid_grey(name: str) -> None:
    likelihood = _build(name, 3)
    mean = likelihood.mean(torch.zeros(2, likelihood.outputs, 4, 4))
    torch.testing.assert_close(mean, torch.full((2, 3, 4, 4), 0.5))
