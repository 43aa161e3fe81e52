"""The error of every solver falls with the power of the step that it declares."""

import math
from functools import cache

import analytic
import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.samplers.continuous import solver
from vitrail.samplers.path import Level, Name, path

NAMES = catalog.names("samplers/continuous")
STOCHASTIC = [name for name in NAMES if solver(name).stochastic]


def grid(along: Name, steps: int, high: float = 6.0, low: float = 0.15) -> tuple[Level, ...]:
    """Equal steps of ln sigma, ending above data: the step to data would be one of order 1."""
    sigmas = [high * (low / high) ** (i / steps) for i in range(steps + 1)]
    return tuple(path(along).level_of(sigma) for sigma in sigmas)


def measured(errors: list[float]) -> float:
    """The power of the step, from the errors of n and of 2 n steps."""
    return math.log2(errors[0] / errors[1])


def difference(drawn: Tensor, exact: Tensor) -> float:
    return float((drawn - exact).square().mean().sqrt())


@cache
def exactly(along: Name) -> tuple[Tensor, Tensor]:
    """Where 16 paths begin on the first level, and where they end on the last."""
    z = grid(along, 1)[0].noise * analytic.noise(16)
    return z, solver("unipc").sample(analytic.mixture().denoise, z, grid(along, 600))


@pytest.mark.parametrize("along", ["rectified", "cosine", "exploding"])
@pytest.mark.parametrize("name", NAMES)
def test_order_of_single_paths(name: str, along: Name) -> None:
    """On a mixture whose denoiser is known, against a far finer grid; noise, where there is any, left out."""
    data, settings = analytic.mixture(), {"eta": 0.0} if solver(name).stochastic else {}
    z, exact = exactly(along)
    drawn = [solver(name).sample(data.denoise, z, grid(along, steps), **settings) for steps in (40, 80)]
    assert measured([difference(one, exact) for one in drawn]) == pytest.approx(solver(name).order, abs=0.1)


def test_the_exact_paths_are_those_of_another_solver() -> None:
    z, exact = exactly("cosine")
    assert difference(solver("heun").sample(analytic.mixture().denoise, z, grid("cosine", 600)), exact) < 1e-6


def final_variance(name: str, steps: int, eta: float) -> float:
    """Variance of what is drawn for normal data, where every solver is linear: the sum of squared answers to each unit of noise."""
    levels = grid("cosine", steps)
    begin = math.hypot(levels[0].signal * 0.7, levels[0].noise)

    def unit(i: int) -> Tensor:
        return torch.zeros(2 * steps + 1, 1, dtype=torch.float64).index_fill(0, torch.tensor([i]), 1.0)

    drawn = solver(name).sample(analytic.gaussian, begin * unit(2 * steps), levels, unit, eta=eta)
    return float(drawn.square().sum())


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize("name", STOCHASTIC)
def test_order_of_the_distribution(name: str, eta: float) -> None:
    """Exactly, without drawing anything."""
    end = grid("cosine", 1)[-1]
    exact = (end.signal * 0.7) ** 2 + end.noise**2
    errors = [abs(final_variance(name, steps, eta) - exact) for steps in (40, 80)]
    assert measured(errors) == pytest.approx(solver(name).order, abs=0.1)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STOCHASTIC])
def test_order_from_pure_noise(name: str) -> None:
    """On straight lines in equal steps of their time, as flows are sampled; order 3 suffers from the long first steps."""
    data, z = analytic.mixture(), analytic.noise(16)
    drawn = {
        steps: solver(name).sample(
            data.denoise, z, [path("rectified").level(1 - 0.9 * i / steps) for i in range(steps + 1)]
        )
        for steps in (50, 100, 800)
    }
    found = measured([difference(drawn[50], drawn[800]), difference(drawn[100], drawn[800])])
    assert found > min(2, solver(name).order) - 0.15
