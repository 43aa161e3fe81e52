"""Projections of mean 0 and covariance 1, and what they do for codes that cannot move."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrail import catalog
from vitrail.bottlenecks._bottleneck import Bottleneck
from vitrail.bottlenecks._whitened import Projection, inverse_root, moments, statistics

WIDTH = 12


def cloud(step: int = 0, offset: float = 0.0, scale: float = 1.0, count: int = 500) -> Tensor:
    """(4, W, N) with correlated channels."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(WIDTH, WIDTH, generator=generator)
    generator.manual_seed(step)
    return offset + scale * torch.einsum("ij,bjn->bin", mixed, torch.randn(4, WIDTH, count, generator=generator))


def judged(vectors: Tensor) -> tuple[Tensor, Tensor]:
    return statistics(moments(vectors.detach().movedim(1, -1).flatten(0, -2)))


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (100.0, 1.0), (-3.0, 1e-2), (0.0, 1e3)])
def test_the_first_batch_is_white_already_and_stays_so(offset: float, scale: float) -> None:
    torch.manual_seed(0)
    projection, h = Projection(WIDTH, 4, whiten=True).train(), cloud(offset=offset, scale=scale)
    first = projection(h)
    projection.after_step()
    for vectors in (first, projection(h), projection.eval()(h)):
        mean, covariance = judged(vectors)
        torch.testing.assert_close(mean, torch.zeros(4), atol=1e-2, rtol=0)
        torch.testing.assert_close(covariance, torch.eye(4), atol=1e-2, rtol=0)


def test_statistics_follow_a_cloud_that_moves() -> None:
    projection = Projection(WIDTH, 4, whiten=True).train()
    for step in range(200):
        projection(cloud(step, offset=0.05 * min(step, 100), scale=1 + 0.02 * min(step, 100), count=50))
        projection.after_step()
    mean, covariance = judged(projection.eval()(cloud(999, offset=5.0, scale=3.0)))
    torch.testing.assert_close(mean, torch.zeros(4), atol=0.1, rtol=0)
    torch.testing.assert_close(covariance, torch.eye(4), atol=0.2, rtol=0)


def test_statistics_are_exact_far_from_0() -> None:
    rows = torch.randn(1000, 3)
    near, far = statistics(moments(rows.double())), statistics(moments(rows.double() + 1e4))
    torch.testing.assert_close(far[1], near[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(near[1], rows.T.cov(correction=0), atol=1e-5, rtol=0)


def test_the_inverse_root_turns_nothing() -> None:
    covariance = torch.diag(torch.tensor([4.0, 1.0, 0.25]))
    torch.testing.assert_close(inverse_root(covariance), torch.diag(torch.tensor([0.5, 1.0, 2.0])), atol=1e-3, rtol=0)


def test_directions_without_variance_are_not_stretched_without_end() -> None:
    assert inverse_root(torch.zeros(3, 3)).abs().max() <= 1e4
    assert inverse_root(torch.diag(torch.tensor([1.0, 1.0, 0.0]))).abs().max() < 200


def test_unwhitened_it_is_a_linear_map() -> None:
    projection, h = Projection(WIDTH, 4, whiten=False).train(), cloud()
    expected = torch.einsum("ij,bjn->bin", projection.linear.weight, h) + projection.linear.bias[:, None]
    torch.testing.assert_close(projection(h), expected, atol=1e-4, rtol=1e-4)
    projection.after_step()
    assert set(projection.state_dict()) == {"linear.weight", "linear.bias"}


def mixture(count: int, step: int) -> Tensor:
    """(N, 16) from 50 clusters."""
    generator = torch.Generator().manual_seed(step)
    centres = torch.randn(50, 16, generator=torch.Generator().manual_seed(1))
    chosen = torch.randint(0, 50, (count,), generator=generator)
    return centres[chosen] + torch.randn(count, 16, generator=generator)


def trained(bottleneck: Bottleneck, weights: dict[str, float], steps: int) -> nn.Module:
    """An encoder that has learnt, together with a decoder, to pass a mixture of clusters through the bottleneck."""
    encoder = nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, WIDTH))
    decoder = nn.Sequential(nn.Linear(bottleneck.channels, 64), nn.SiLU(), nn.Linear(64, 16))
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), *bottleneck.parameters()], lr=1e-3)
    for step in range(steps):
        x = mixture(1024, step)
        latent = bottleneck.train()(10 * encoder(x) + 3)
        loss = (decoder(latent.z) - x).square().mean() + sum(weights[key] * term for key, term in latent.terms.items())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bottleneck.after_step()
    return encoder


@pytest.mark.parametrize(
    "settings", [{"name": "fsq"}, {"name": "lfq"}, {"name": "bsq"}], ids=lambda given: given["name"]
)
@pytest.mark.parametrize("steps", [1, 100])
def test_codes_on_a_grid_are_in_use_from_the_first_step(settings: dict[str, Any], steps: int) -> None:
    torch.manual_seed(0)
    config = catalog.find("bottlenecks", settings["name"]).Config(size=1024)
    bottleneck = config.build(WIDTH)
    encoder = trained(bottleneck, config.usual_weights, steps)
    with torch.no_grad():
        codes = bottleneck.eval()(10 * encoder(mixture(20_000, 999)) + 3).codes
    assert len(codes.unique()) > 0.9 * bottleneck.size
