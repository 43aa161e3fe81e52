"""Where nets are trained: each distribution against its formula, on every path; and the learnt weights of levels."""

import math
from typing import Any, get_args

import pytest
import torch
from scipy.stats import kstest, norm

from vitrail.priors import _levels as levels
from vitrail.samplers.path import Name as PathName
from vitrail.samplers.path import path

NAMES: tuple[Any, ...] = get_args(levels.Name)
PATHS: tuple[Any, ...] = get_args(PathName)
SHARES = torch.linspace(1e-6, 1 - 1e-6, 10_001, dtype=torch.float64)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("route", PATHS)
@pytest.mark.parametrize("name", NAMES)
def test_times_rise_with_their_share_and_stay_on_the_path(name: Any, route: Any, shift: float) -> None:
    t = levels.times(name, path(route), SHARES, 0.0, 1.0, shift)
    assert t.dtype == torch.float64
    assert float(t.min()) >= 0
    assert float(t.max()) <= 1
    assert (t.diff() >= 0).all()


def test_log_normal_is_log_normal() -> None:
    for route in ("rectified", "cosine"):
        a, s = path(route).level_at(levels.times("log-normal", path(route), SHARES, -0.5, 1.2, 1.0))
        assert kstest((s / a).log().numpy(), norm(-0.5, 1.2).cdf).statistic < 1e-3


def test_logit_normal_of_straight_lines_is_log_normal() -> None:
    one, other = (
        levels.times(name, path("rectified"), SHARES, 0.3, 0.8, 1.0) for name in ("logit-normal", "log-normal")
    )
    torch.testing.assert_close(one, other)


def test_cosine_is_uniform_on_the_path_of_its_name() -> None:
    torch.testing.assert_close(levels.times("cosine", path("cosine"), SHARES, 0, 1, 1.0), SHARES)


@pytest.mark.parametrize("route", PATHS)
def test_a_shift_multiplies_sigma_as_far_as_the_path_goes(route: Any) -> None:
    line, shares = path(route), torch.linspace(0.05, 0.6, 40, dtype=torch.float64)
    a, s = line.level_at(levels.times("uniform", line, shares, 0, 1, 1.0))
    b, r = line.level_at(levels.times("uniform", line, shares, 0, 1, 3.0))
    torch.testing.assert_close(r / b, 3 * s / a)


def test_a_shift_of_straight_lines_is_the_published_one() -> None:
    t = levels.times("uniform", path("rectified"), SHARES, 0, 1, 3.0)
    torch.testing.assert_close(t, 3 * SHARES / (1 + 2 * SHARES))


def test_shares_are_uniform_and_more_even_than_chance() -> None:
    torch.manual_seed(0)
    device = torch.device("cpu")
    assert kstest(torch.cat([levels.spread(5, device) for _ in range(400)]).numpy(), "uniform").pvalue > 0.01
    means = torch.stack([levels.spread(32, device)[:8].mean() for _ in range(400)])  # any run is even
    assert means.std() < 0.5 * math.sqrt(1 / 12 / 8)
    assert means.mean().item() == pytest.approx(0.5, abs=0.01)


def test_uncertainty_begins_with_plain_errors_and_leaves_their_mean_in_the_log() -> None:
    torch.manual_seed(0)
    weigher, t = levels.Uncertainty(), torch.rand(16, dtype=torch.float64)
    error = torch.rand(16, requires_grad=True)
    value, own = weigher.balanced(error, t)
    torch.testing.assert_close(value, error.mean())
    torch.testing.assert_close(own, error.mean())
    value.backward()
    torch.testing.assert_close(error.grad, torch.full((16,), 1 / 16))
    assert all(weight.grad is None for weight in weigher.parameters())


def test_uncertainty_learns_the_error_of_every_level() -> None:
    torch.manual_seed(0)
    weigher = levels.Uncertainty()
    optimiser = torch.optim.Adam(weigher.parameters(), lr=0.03)
    for _ in range(400):
        t = torch.rand(256, dtype=torch.float64)
        error = (0.1 + 2 * t.float()) * torch.rand(256) * 2
        _, own = weigher.balanced(error, t)
        optimiser.zero_grad()
        own.backward()
        optimiser.step()
    t = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    torch.testing.assert_close(weigher(t).exp(), (0.1 + 2 * t).float(), rtol=0.25, atol=0)
    error = torch.ones(10, requires_grad=True)
    weigher.balanced(error, t)[0].backward()
    assert error.grad is not None
    assert error.grad[0] > 5 * error.grad[-1]  # what is known well counts more
