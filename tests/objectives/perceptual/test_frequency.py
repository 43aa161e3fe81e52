"""The focal frequency loss against the paper's formula in NumPy, and Parseval."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.objectives.perceptual import frequency
from vitrail.types import DataSpec

SHAPES = ((2, 15), (1, 16), (3, 12, 16), (1, 9, 7), (2, 4, 6, 5))


def _pair(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, *shape, generator=generator), torch.rand(3, *shape, generator=generator)


def _published(x_hat: Tensor, x: Tensor, alpha: float) -> list[float]:
    """Equations 8 and 9 over the whole spectrum, one channel after the other."""
    found = []
    for a, b in zip(x_hat.double().numpy(), x.double().numpy(), strict=True):
        per_channel = []
        for one, other in zip(a, b, strict=True):
            distance = np.abs(np.fft.fftn(one, norm="ortho") - np.fft.fftn(other, norm="ortho"))
            weight = distance**alpha / (distance**alpha).max()
            per_channel.append((weight * distance**2).mean())
        found.append(float(np.mean(per_channel)))
    return found


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_the_formula_over_the_whole_spectrum(shape: tuple[int, ...], alpha: float) -> None:
    x_hat, x = _pair(shape)
    ours = frequency.Config(alpha=alpha).build(DataSpec(shape=shape))(x_hat, x)
    torch.testing.assert_close(ours, torch.tensor(_published(x_hat, x, alpha)))


@pytest.mark.parametrize("shape", SHAPES)
def test_without_focus_it_is_the_mean_squared_error(shape: tuple[int, ...]) -> None:
    x_hat, x = _pair(shape)
    ours = frequency.Config(alpha=0).build(DataSpec(shape=shape))(x_hat, x)
    torch.testing.assert_close(ours, (x_hat - x).square().flatten(1).mean(1))


def test_patches_are_judged_apart() -> None:
    x_hat, x = _pair((1, 8, 12))
    whole = frequency.Config().build(DataSpec(shape=(1, 4, 6)))
    parts = [whole(x_hat[..., i : i + 4, j : j + 6], x[..., i : i + 4, j : j + 6]) for i in (0, 4) for j in (0, 6)]
    ours = frequency.Config(patches=2).build(DataSpec(shape=(1, 8, 12)))(x_hat, x)
    torch.testing.assert_close(ours, torch.stack(parts).mean(0))


def test_the_worst_frequency_gets_more_than_its_share_of_the_gradient() -> None:
    places = torch.arange(16.0)
    large, small = (amplitude * torch.cos(2 * torch.pi * k * places / 16) for amplitude, k in ((0.4, 2), (0.1, 5)))
    x_hat = (0.5 + large + small).view(1, 1, 16).requires_grad_()
    frequency.Config().build(DataSpec(shape=(1, 16)))(x_hat, torch.full((1, 1, 16), 0.5)).backward()
    assert x_hat.grad is not None
    spectrum = torch.fft.rfft(x_hat.grad[0, 0]).abs()
    assert (spectrum[2] / spectrum[5]).item() == pytest.approx(16, rel=1e-4)  # 4 by the error, 4 by the focus


@pytest.mark.parametrize(("shape", "patches"), [((1, 10, 9), 2), ((1, 8), 8)])
def test_patches_that_do_not_fit_are_refused(shape: tuple[int, ...], patches: int) -> None:
    with pytest.raises(UsageError, match=rf"perceptual\.patches={patches} does not divide"):
        frequency.Config(patches=patches).build(DataSpec(shape=shape))
