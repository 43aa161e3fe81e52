"""The multi-scale gradient difference on signals whose value is known in closed form."""

import pytest
import torch

from vitrail.errors import UsageError
from vitrail.objectives.perceptual import gradient
from vitrail.types import DataSpec


@pytest.mark.parametrize("shape", [(1, 16), (3, 16, 32), (2, 8, 16, 24)])
def test_a_ramp_against_nothing(shape: tuple[int, ...]) -> None:
    """A slope of s per point along the last axis: s at the finest scale, 2 s at the next, on one of the axes."""
    ramp = 0.01 * torch.arange(shape[-1]).expand(1, *shape)
    ours = gradient.Config(scales=3).build(DataSpec(shape=shape))(ramp, torch.zeros(1, *shape))
    assert ours.item() == pytest.approx(0.01 * (1 + 2 + 4) / 3 / (len(shape) - 1), rel=1e-5)


def test_a_step_between_pixels() -> None:
    x = torch.zeros(1, 1, 8)
    x[..., 4:] = 0.5
    one, two = (gradient.Config(scales=n).build(DataSpec(shape=(1, 8)))(x, torch.zeros_like(x)).item() for n in (1, 2))
    assert one == pytest.approx(0.5 / 7)
    assert two == pytest.approx((0.5 / 7 + 0.5 / 3) / 2)


def test_brightness_alone_counts_nothing() -> None:
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    ours = gradient.Config().build(DataSpec(shape=(3, 16, 16)))(x + 0.25, x)
    torch.testing.assert_close(ours, torch.zeros(2), atol=1e-6, rtol=0)


def test_the_sign_of_a_slope_counts() -> None:
    ramp = torch.linspace(0, 1, 8).view(1, 1, 8)
    ours = gradient.Config(scales=1).build(DataSpec(shape=(1, 8)))(ramp, ramp.flip(-1))
    assert ours.item() == pytest.approx(2 / 7)


@pytest.mark.parametrize(("side", "scales", "fit"), [(28, 5, 4), (4, 3, 2), (2, 2, 1)])
def test_too_many_scales_are_refused_with_how_many_fit(side: int, scales: int, fit: int) -> None:
    with pytest.raises(UsageError, match=f"wants sides of {2**scales}, got {side}; take {fit}"):
        gradient.Config(scales=scales).build(DataSpec(shape=(1, 32, side)))
    gradient.Config(scales=fit).build(DataSpec(shape=(1, 32, side)))
