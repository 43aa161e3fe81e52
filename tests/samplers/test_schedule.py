"""Grids of levels, beside those of the literature."""

import itertools
import math
from typing import get_args

import pytest
import torch

from vitrail.errors import UsageError
from vitrail.samplers.path import DATA, Level, Name, path
from vitrail.samplers.schedule import Kind, levels, shifted

KINDS, NAMES = get_args(Kind), get_args(Name)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_noise_falls_to_data(kind: Kind, name: Name, steps: int) -> None:
    grid = levels(path(name), steps, kind)
    assert len(grid) == steps + 1
    assert grid[-1] == DATA
    assert all(there.sigma < here.sigma for here, there in itertools.pairwise(grid))
    along = path(name).level(path(name).time(grid[0].sigma))
    assert along == pytest.approx(grid[0], abs=1e-9)  # every level lies on the path


@pytest.mark.parametrize("name", ["rectified", "cosine", "linear-zero"])
def test_which_kinds_begin_with_pure_noise(name: Name) -> None:
    for kind in ("uniform", "trailing"):
        assert levels(path(name), 10, kind)[0] == Level(0.0, 1.0)
    for kind in ("karras", "log-snr"):
        assert levels(path(name), 10, kind)[0].sigma == pytest.approx(80)


def test_karras_is_the_formula_of_the_paper() -> None:
    scheduler = pytest.importorskip("diffusers").EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, rho=7.0)
    scheduler.set_timesteps(18)
    found = torch.tensor([level.sigma for level in levels(path("exploding"), 18, "karras")])
    assert torch.allclose(found, scheduler.sigmas, rtol=1e-5)


def test_karras_over_ddpm_s_levels() -> None:
    scheduler = pytest.importorskip("diffusers").EulerDiscreteScheduler(use_karras_sigmas=True)
    scheduler.set_timesteps(20)
    found = torch.tensor([level.sigma for level in levels(path("linear"), 20, "karras")])
    assert torch.allclose(found, scheduler.sigmas, rtol=1e-4)


@pytest.mark.parametrize("steps", [4, 20, 25, 50, 1000])
def test_trailing_takes_the_levels_that_ddim_does(steps: int) -> None:
    scheduler = pytest.importorskip("diffusers").DDIMScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    grid, along = levels(path("linear"), steps, "trailing"), path("linear")
    assert [along.told(level) for level in grid[:-1]] == pytest.approx(scheduler.timesteps.tolist(), abs=1e-6)


def test_uniform_takes_both_ends_of_ddpm_s_levels() -> None:
    grid, along = levels(path("linear"), 10, "uniform"), path("linear")
    assert [along.told(level) for level in grid[:-1]] == pytest.approx([111 * k for k in range(9, -1, -1)], abs=1e-6)


@pytest.mark.parametrize("kind", ["uniform", "trailing"])
def test_straight_lines_are_cut_in_equal_parts(kind: Kind) -> None:
    grid = levels(path("rectified"), 4, kind)
    assert [level.noise for level in grid] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_shift_is_that_of_flow_schedulers() -> None:
    scheduler = pytest.importorskip("diffusers").FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=[1 - i / 10 for i in range(10)])
    found = torch.tensor([level.noise for level in levels(path("rectified"), 10, "uniform", shift=3.0)])
    assert torch.allclose(found, scheduler.sigmas)
    t = shifted(0.4, 5.0)
    assert t / (1 - t) == pytest.approx(5 * 0.4 / 0.6)  # sigma times k


def test_log_snr_falls_in_equal_ratios() -> None:
    grid = levels(path("cosine"), 5, "log-snr", lowest=0.01, highest=100.0)
    assert [level.sigma for level in grid[:-1]] == pytest.approx([100, 10, 1, 0.1, 0.01])


def test_rho_1_is_even_in_sigma() -> None:
    grid = levels(path("exploding"), 3, "karras", rho=1.0, lowest=1.0, highest=3.0)
    assert [level.sigma for level in grid] == pytest.approx([3, 2, 1, 0])


@pytest.mark.parametrize("kind", ["karras", "uniform", "log-snr"])
def test_ends_can_be_chosen(kind: Kind) -> None:
    grid = levels(path("rectified"), 6, kind, lowest=0.05, highest=20.0)
    assert (grid[0].sigma, grid[-2].sigma) == (pytest.approx(20), pytest.approx(0.05))
    assert levels(path("rectified"), 6, "trailing", highest=20.0)[0].sigma == pytest.approx(20)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "at least 1 step"),
        ({"rho": 0.0}, "positive"),
        ({"shift": -1.0, "kind": "uniform"}, "positive"),
        ({"shift": 2.0}, "take uniform or trailing"),
        ({"lowest": 0.1, "kind": "trailing"}, "trailing ends"),
        ({"lowest": 5.0, "highest": 1.0}, "falls from highest"),
        ({"highest": math.inf}, "both finite"),
        ({"lowest": 5.0, "highest": 1.0, "kind": "uniform"}, "lower the noise"),
        ({"steps": 3000, "kind": "trailing"}, "lower the noise"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, float | str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        levels(path("linear"), **{"steps": 5, "kind": "karras", **settings})
