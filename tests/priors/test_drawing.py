"""How to draw: every mistake is one line that says what to do."""

from typing import Any

import pytest
import torch
from closed import exact
from pydantic import ValidationError

from vitrail.errors import UsageError
from vitrail.networks.denoiser import mlp
from vitrail.priors import diffusion, flow
from vitrail.priors._drawing import Settings
from vitrail.types import LatentSpec

LABEL = torch.tensor([-1])

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"eta": 0.5}, "sampler=dpmpp-2m adds no noise, so it takes no eta; use ddim, ddpm or dpmpp-sde"),
    ({"sampler": "shortcut"}, "wants a few-step model: train with prior.few_steps=true"),
    ({"guidance": 2.0, "reference": "snapshot"}, "train with prior.guide=0.3"),
    ({"shift": 2.0}, "take uniform or trailing, or shift 1"),
    ({"lowest": 3.0, "highest": 1.0}, "sigma falls from highest to lowest"),
]


@pytest.mark.parametrize(("settings", "reason"), MISTAKES)
def test_a_mistake_is_told_in_one_line_by_draw_and_by_build(settings: dict[str, Any], reason: str) -> None:
    how = Settings(**settings)
    for call in (
        lambda: exact(flow).draw(0, [0], LABEL, how),
        lambda: diffusion.Config(sampling=how).build(LatentSpec((2,)), 0, False, mlp.Config()),
        lambda: flow.Config(sampling=how).build(LatentSpec((2,)), 0, False, mlp.Config()),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("interval", [(2.0, 1.0), (-1.0, 1.0), (1.0, 1.0)])
def test_an_interval_rises(interval: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="lower sigma first"):
        Settings(interval=interval)


@pytest.mark.parametrize("route", ["rectified", "cosine", "linear-zero"])
def test_eps_is_refused_where_a_path_ends_in_pure_noise(route: Any) -> None:
    with pytest.raises(UsageError, match=f"where path={route} ends there is only noise"):
        diffusion.Config(path=route, predicts="eps").build(LatentSpec((2,)), 0, False, mlp.Config())


def test_an_unknown_solver_is_told_with_those_there_are() -> None:
    with pytest.raises(
        ValidationError, match=r"unknown solver 'dpmp-2m'; did you mean 'dpmpp-2m'\? \(there is: "
    ) as caught:
        Settings(sampler="dpmp-2m")
    assert "unipc), and shortcut for few-step models" in str(caught.value)


def test_both_spellings_of_a_solver_are_one() -> None:
    assert Settings(sampler="dpmpp_2m") == Settings(sampler="dpmpp-2m") == Settings()
    prior, label = exact(flow), torch.tensor([0, 1])
    one, other = (prior.draw(0, [0, 1], label, Settings(sampler=name)) for name in ("dpmpp_2m", "dpmpp-2m"))
    assert torch.equal(one, other)


def test_a_net_of_one_size_refuses_others_in_one_line() -> None:
    prior = flow.Config().build(LatentSpec((2, 3, 2)), 0, False, mlp.Config(width=8)).eval()
    with pytest.raises(UsageError, match="the flow prior draws no latents of shape"):
        prior.draw(0, [0], LABEL, Settings(), (4, 4))


def test_stochastic_solvers_take_their_share_of_noise() -> None:
    prior, label = exact(flow), torch.tensor([0, 1])
    plain, noisy = (prior.draw(0, [0, 1], label, Settings(sampler="ddim", eta=eta)) for eta in (0.0, 1.0))
    assert not torch.allclose(plain, noisy)
