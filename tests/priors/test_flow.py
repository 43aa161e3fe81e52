"""Steps of every size: what one is in closed form, what is told of it, and that few of them lead where many do."""

from typing import Any

import pytest
import torch
from closed import Exact, exact
from pydantic import ValidationError
from toy import blobs, build, learnt

from vitrail.priors import flow
from vitrail.priors._continuous import Given
from vitrail.priors._drawing import Settings
from vitrail.types import Latent


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_a_straight_flow_is_followed_exactly_in_any_number_of_steps(steps: int) -> None:
    """All data in one point: every line leads there."""
    prior = exact(flow, known=Exact("rectified", "flow", free=0.7, spread=1e-4), few_steps=True)
    z = prior.draw(0, range(5), torch.full((5,), -1), Settings(sampler="shortcut", steps=steps))
    torch.testing.assert_close(z, torch.full((5, 4), 0.7), rtol=0, atol=2e-3)


def test_straight_flows_are_consistent_and_curved_ones_are_not() -> None:
    x = torch.full((64, 4), 0.7)
    found = []
    for spread in (1e-4, 0.5):
        prior = exact(flow, known=Exact("rectified", "flow", free=0.7, spread=spread), few_steps=True)
        torch.manual_seed(0)
        found.append(prior.terms(Latent(x), torch.full((64,), -1))["consistency"].item())
    assert found[0] < 1e-6
    assert found[1] > 1e-3


def test_a_step_of_the_solver_is_as_long_as_the_net_was_told() -> None:
    known = Exact("rectified", "flow")
    prior = exact(flow, known=known, few_steps=True)
    prior.draw(0, [0], torch.tensor([-1]), Settings(sampler="shortcut", steps=4))
    told = torch.cat(known.told)
    torch.testing.assert_close(told[:, 0], torch.tensor([1000.0, 750.0, 500.0, 250.0]))
    torch.testing.assert_close(told[:, 1], torch.full((4,), 250.0))
    known.told.clear()
    prior.draw(0, [0], torch.tensor([-1]), Settings(sampler="shortcut", steps=2, shift=3.0, guidance=2.0))
    torch.testing.assert_close(torch.cat(known.told)[:, 1], torch.tensor([250.0, 750.0]))
    known.told.clear()
    prior.draw(0, [0], torch.tensor([-1]), Settings(steps=4))
    assert not torch.cat(known.told)[:, 1].any()


def test_the_short_halves_are_the_velocity_itself() -> None:
    known = Exact("rectified", "flow")
    prior = exact(flow, known=known, few_steps=True)
    torch.manual_seed(0)
    given = Given(torch.full((4096,), -1))
    prior._consistency(torch.randn(4096, 4), torch.randn(4096, 4), given)
    first, second, whole = (told for told in known.told)
    assert torch.equal(first[:, 1], second[:, 1])
    size = whole[:, 1] / 1000
    assert (size > 1 / 64.01).all()
    assert (size <= 1).all()
    assert (whole[:, 0] >= whole[:, 1] - 1e-3).all()  # no step leads beyond the data
    torch.testing.assert_close(first[:, 1] / 1000, (size / 2).where(size / 2 > 1 / 64, 0.0))
    torch.testing.assert_close(second[:, 0], whole[:, 0] - 500 * size)


def distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """Squared maximum mean discrepancy with Gaussian kernels."""

    def kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        square = torch.cdist(a, b).square()
        return sum((torch.exp(-square / width) for width in (0.05, 0.2, 1.0)), torch.zeros(())).mean()

    return float(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y))


@pytest.mark.slow
def test_few_steps_are_learnt() -> None:
    prior = learnt(build(rough=False, few_steps=True), blobs, 400)
    data, _ = blobs(1 << 20, 500)
    free = torch.full((500,), -1)

    def score(**settings: Any) -> float:
        return distance(prior.draw(0, range(500), free, Settings(**settings)), data.z)

    many, few = score(steps=30, sampler="euler", schedule="uniform"), score(steps=4, sampler="shortcut")
    plain = score(steps=4, sampler="euler", schedule="uniform")
    assert many < 0.05
    assert few < 0.06
    assert few < 0.7 * plain


def test_few_steps_want_straight_lines() -> None:
    with pytest.raises(ValidationError, match="few_steps wants path=rectified and predicts=flow, not cosine and flow"):
        flow.Config(few_steps=True, path="cosine")
    with pytest.raises(ValidationError, match="exclude each other"):
        flow.Config(few_steps=True, self_conditioning=True)
