"""Levels, times, and what the paths have in common with the literature's tables."""

import math
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrail.samplers.path import DATA, Level, Linear, Name, path

NAMES = get_args(Name)


def test_a_level_says_how_noisy_it_is() -> None:
    level = Level(0.8, 0.6)
    assert level.sigma == pytest.approx(0.75)
    assert math.exp(2 * level.half_log_snr) == pytest.approx(0.8**2 / 0.6**2)
    assert (DATA.sigma, DATA.half_log_snr) == (0.0, math.inf)
    assert (Level(0.0, 1.0).sigma, Level(0.0, 1.0).half_log_snr) == (math.inf, -math.inf)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(t=st.floats(0.001, 0.999))
def test_time_and_level_are_each_other_s_inverse(name: Name, t: float) -> None:
    along = path(name)
    level = along.level(t)
    assert along.time(level.sigma) == pytest.approx(t, abs=1e-9)
    assert along.told(level) == pytest.approx(along.steps * t, abs=1e-6)
    again = along.level_of(level.sigma)
    assert again.signal == pytest.approx(level.signal, abs=1e-12)
    assert again.noise == pytest.approx(level.noise, abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_ends(name: Name) -> None:
    along = path(name)
    begin, end = along.level(0.0), along.level(1.0)
    assert along.time(begin.sigma) == pytest.approx(0.0, abs=1e-12)
    assert along.time(end.sigma) == pytest.approx(1.0, abs=1e-12)
    assert begin.sigma < 0.011
    assert end.sigma >= 80
    if name in ("rectified", "cosine", "linear-zero"):
        assert end == along.level_of(math.inf) == Level(0.0, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_noise_grows_with_time(name: Name) -> None:
    a, s = path(name).level_at(torch.linspace(0, 1, 5001))
    assert a.dtype == s.dtype == torch.float64
    assert ((s / a).diff() > 0).all()
    assert torch.stack([a, s]).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_rows(name: Name) -> None:
    t = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    a, s = path(name).level_at(t)
    assert a.shape == s.shape == t.shape
    one = path(name).level(float(t[1, 2]))
    assert (float(a[1, 2]), float(s[1, 2])) == (one.signal, one.noise)


def test_linear_is_the_table_of_ddpm() -> None:
    scheduler = pytest.importorskip("diffusers").DDPMScheduler()
    a, s = path("linear").level_at(torch.arange(1000, dtype=torch.float64) / 999)
    assert torch.allclose(a.square(), scheduler.alphas_cumprod.double(), rtol=1e-4)  # theirs is in float32
    assert torch.allclose(s.square(), 1 - scheduler.alphas_cumprod.double(), rtol=1e-4, atol=1e-7)


def test_linear_zero_is_the_rescaled_table() -> None:
    schedulers = pytest.importorskip("diffusers.schedulers.scheduling_ddim")
    betas = schedulers.rescale_zero_terminal_snr(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    a, _ = path("linear-zero").level_at(torch.arange(1000, dtype=torch.float64) / 999)
    assert torch.allclose(a.square(), (1 - betas).cumprod(0), rtol=1e-6, atol=1e-14)
    assert a[-1] == 0


def test_between_two_of_ddpm_s_levels_lies_the_geometric_mean() -> None:
    along = Linear()
    first, middle, last = (along.level(k / 999).sigma for k in (500, 500.5, 501))
    assert middle == pytest.approx(math.sqrt(first * last))
