"""The same network on the same grid gives the same picture as the schedulers of diffusers, in float32.

Its grids are read from the scheduler (sigmas; of DDIM and DDPM its table at the timesteps), so that a rounded timestep of theirs is
no difference; that `levels` gives the same grids is tested beside `schedule`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrail.samplers.continuous import solver
from vitrail.samplers.path import DATA, Level, path

diffusers = pytest.importorskip("diffusers")

STEPS = 20
Net = Callable[[Tensor, float], Tensor]


def network() -> Net:
    """A small fixed net (z (B, 3, H, W), t up to 1000) -> (B, 3, H, W)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    @torch.no_grad()
    def answer(z: Tensor, t: float) -> Tensor:
        return 0.8 * z + 0.5 * last(torch.tanh(first(z) + math.sin(t / 300)))

    return answer


def start() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def theirs(scheduler: Any, net: Net, z: Tensor, **settings: Any) -> Tensor:
    """Their loop, after set_timesteps; their flow schedulers have no scale_model_input."""
    scaled = getattr(scheduler, "scale_model_input", lambda z, t: z)
    for t in scheduler.timesteps:
        out = net(scaled(z, t), float(t))
        z = scheduler.step(out, t, z, **settings).prev_sample
    return z


def closely(ours: Tensor, found: Tensor) -> bool:
    """To 1e-5 of the largest value: both compute in float32, theirs with coefficients in float32 too."""
    return bool((ours - found).abs().max() < 1e-5 * found.abs().max())


def told(grid: tuple[Level, ...], times: Tensor) -> Callable[[Level], float]:
    """The timestep that theirs tells the net at a level of the grid."""
    table = dict(zip(grid, times.tolist(), strict=False))
    return lambda level: table[level]


def preserving(sigmas: Tensor) -> tuple[Level, ...]:
    """Levels with signal^2 + noise^2 = 1 for sigmas that end with 0."""
    return (*(path("cosine").level_of(float(sigma)) for sigma in sigmas[:-1]), DATA)


def straight(sigmas: Tensor) -> tuple[Level, ...]:
    """Levels with signal + noise = 1 for noises that end with 0."""
    return (*(Level(1 - float(s), float(s)) for s in sigmas[:-1]), DATA)


def denoiser(kind: str, net: Net, time: Callable[[Level], float]) -> Callable[[Tensor, Level], Tensor]:
    """The expected data, of a net that predicts the noise, v, or the flow."""

    def denoise(z: Tensor, level: Level) -> Tensor:
        a, s = level
        out = net(z, time(level))
        if kind == "epsilon":
            return (z - s * out) / a
        return a * z - s * out if kind == "v_prediction" else z - s * out

    return denoise


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("name", "eta"), [("euler", 0.0), ("ddim", 0.0), ("ddim", 0.6), ("ddim", 1.0)])
def test_ddim(name: str, eta: float, kind: str) -> None:
    """clip_sample off: it is on by default, and clips the data to [-1, 1]."""
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing", prediction_type=kind)
    scheduler.set_timesteps(STEPS)
    kept = scheduler.alphas_cumprod[scheduler.timesteps].double()
    grid = (*(Level(math.sqrt(a), math.sqrt(1 - a)) for a in kept.tolist()), DATA)
    found = theirs(scheduler, network(), start(), eta=eta, generator=torch.Generator().manual_seed(2))
    same = torch.Generator().manual_seed(2)
    settings = {"eta": eta} if solver(name).stochastic else {}
    ours = solver(name).sample(
        denoiser(kind, network(), told(grid, scheduler.timesteps)),
        start(),
        grid,
        lambda i: torch.randn(start().shape, generator=same),
        **settings,
    )
    assert closely(ours, found)


def test_ddpm() -> None:
    """fixed_small is the posterior's variance; in their last step a variance of 1e-20 remains."""
    scheduler = diffusers.DDPMScheduler(clip_sample=False, timestep_spacing="trailing", variance_type="fixed_small")
    scheduler.set_timesteps(STEPS)
    kept = scheduler.alphas_cumprod[scheduler.timesteps].double()
    grid = (*(Level(math.sqrt(a), math.sqrt(1 - a)) for a in kept.tolist()), DATA)
    found = theirs(scheduler, network(), start(), generator=torch.Generator().manual_seed(2))
    same = torch.Generator().manual_seed(2)
    denoise = denoiser("epsilon", network(), told(grid, scheduler.timesteps))
    ours = solver("ddpm").sample(denoise, start(), grid, lambda i: torch.randn(start().shape, generator=same))
    assert closely(ours, found)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize(("name", "theirs_is"), [("euler", "Euler"), ("heun", "Heun")])
def test_solvers_in_sigma(name: str, theirs_is: str, karras: bool, kind: str) -> None:
    """Theirs hold y = z / signal and scale it for the net, so ours goes along signals of 1. Heun's repeats inner sigmas."""
    scheduler = getattr(diffusers, f"{theirs_is}DiscreteScheduler")(
        timestep_spacing="trailing", use_karras_sigmas=karras, prediction_type=kind
    )
    scheduler.set_timesteps(STEPS)
    inner = slice(1, None, 2) if name == "heun" else slice(1, None)
    sigmas = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[inner]])
    times = torch.cat([scheduler.timesteps[:1], scheduler.timesteps[inner]])
    grid = tuple(Level(1.0, float(sigma)) for sigma in sigmas)
    rescaled = preserving(sigmas)
    onto = dict(zip(grid, rescaled, strict=True))
    inside = denoiser(kind, network(), told(rescaled, times))
    y = start() * sigmas[0]
    ours = solver(name).sample(lambda y, level: inside(y * onto[level].signal, onto[level]), y, grid)
    assert closely(ours, theirs(scheduler, network(), y))
    if name == "euler":  # the same at any scale
        assert closely(solver(name).sample(inside, y * rescaled[0].signal, rescaled), ours)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [8, 20])
@pytest.mark.parametrize(("name", "theirs_is"), [("dpmpp_2m", "DPMSolver"), ("unipc", "UniPC")])
def test_multistep_solvers(name: str, theirs_is: str, steps: int, kind: str) -> None:
    """final_sigmas_type zero (the default) makes their last step, to data, one of order 1, as it must be."""
    scheduler = getattr(diffusers, f"{theirs_is}MultistepScheduler")(timestep_spacing="trailing", prediction_type=kind)
    scheduler.set_timesteps(steps)
    grid = preserving(scheduler.sigmas)
    ours = solver(name).sample(denoiser(kind, network(), told(grid, scheduler.timesteps)), start(), grid)
    assert closely(ours, theirs(scheduler, network(), start()))


@pytest.mark.parametrize(("name", "theirs_is"), [("dpmpp_2m", "DPMSolver"), ("unipc", "UniPC")])
def test_multistep_solvers_of_flows(name: str, theirs_is: str) -> None:
    """Their flows begin just below pure noise, where their logarithms are finite."""
    scheduler = getattr(diffusers, f"{theirs_is}MultistepScheduler")(
        use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction"
    )
    scheduler.set_timesteps(STEPS)
    grid = straight(scheduler.sigmas)
    assert 0 < grid[0].signal < 0.01
    ours = solver(name).sample(denoiser("flow", network(), told(grid, scheduler.timesteps)), start(), grid)
    assert closely(ours, theirs(scheduler, network(), start()))


@pytest.mark.parametrize("name", ["euler", "ddim"])
def test_flow_euler(name: str) -> None:
    """From pure noise. Given their own sigmas they shift them once; by themselves, twice."""
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(sigmas=[1 - i / STEPS for i in range(STEPS)])
    grid = straight(scheduler.sigmas)
    assert grid[0] == Level(0.0, 1.0)
    ours = solver(name).sample(denoiser("flow", network(), told(grid, scheduler.timesteps)), start(), grid)
    assert closely(ours, theirs(scheduler, network(), start()))


def test_flow_heun() -> None:
    """On straight lines ours is Heun's method in their time, from pure noise on."""
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(STEPS)
    sigmas = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1::2]])
    times = torch.cat([scheduler.timesteps[:1], scheduler.timesteps[1::2]])
    grid = straight(sigmas)
    ours = solver("heun").sample(denoiser("flow", network(), told(grid, times)), start(), grid)
    assert closely(ours, theirs(scheduler, network(), start()))
