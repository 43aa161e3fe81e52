"""How far vectors are from a standard normal, and that codes on a fixed grid stay in use for it."""

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from vitrail import catalog
from vitrail.bottlenecks._bottleneck import Bottleneck
from vitrail.bottlenecks._evenness import unevenness

WIDTH = 12


def cloud(count: int = 500, channels: int = 4) -> Tensor:
    """(count, C) correlated and off centre."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(channels, channels, generator=generator)
    return 0.5 + torch.randn(count, channels, generator=generator) @ mixed


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_it_is_the_divergence_of_a_gaussian_per_channel(offset: float) -> None:
    rows = cloud().double() + offset
    fitted = MultivariateNormal(rows.mean(0), rows.T.cov(correction=0) + 1e-4 * torch.eye(4))
    expected = kl_divergence(fitted, MultivariateNormal(torch.zeros(4).double(), torch.eye(4).double())) / 4
    torch.testing.assert_close(unevenness(rows.view(5, 10, 10, 4), everywhere=False), expected)


def test_its_gradient_is_right() -> None:
    rows = cloud(20, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: unevenness(given, everywhere=False), rows)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e6])
def test_vectors_without_variance_and_huge_ones_stay_finite(scale: float) -> None:
    rows = (scale * cloud()).requires_grad_()
    term = unevenness(rows, everywhere=False)
    term.backward()
    assert term.isfinite()
    assert term > 1
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_a_standard_normal_costs_nothing() -> None:
    rows = torch.randn(200_000, 4, generator=torch.Generator().manual_seed(0))
    assert unevenness(rows, everywhere=False) < 1e-4


def mixture(count: int, step: int) -> Tensor:
    """(N, 16) from 50 clusters."""
    generator = torch.Generator().manual_seed(step)
    centres = torch.randn(50, 16, generator=torch.Generator().manual_seed(1))
    chosen = torch.randint(0, 50, (count,), generator=generator)
    return centres[chosen] + torch.randn(count, 16, generator=generator)


def used(bottleneck: Bottleneck, weights: dict[str, float], steps: int = 50) -> float:
    """Share of codes that 20,000 vectors win after an encoder and a decoder have learnt to pass a mixture through."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(16, 64), nn.SiLU(), nn.Linear(64, WIDTH))
    decoder = nn.Sequential(nn.Linear(bottleneck.channels, 64), nn.SiLU(), nn.Linear(64, 16))
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), *bottleneck.parameters()], lr=3e-3)
    for step in range(steps):
        x = mixture(1024, step)
        latent = bottleneck.train()(10 * encoder(x) + 3)
        loss = (decoder(latent.z) - x).square().mean() + sum(weights[key] * term for key, term in latent.terms.items())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bottleneck.after_step()
    with torch.no_grad():
        codes = bottleneck.eval()(10 * encoder(mixture(20_000, 999)) + 3).codes
    assert codes is not None
    return len(codes.unique()) / bottleneck.size


@pytest.mark.parametrize("name", ["lfq", "bsq"])
def test_codes_on_a_grid_are_in_use_because_of_it(name: str) -> None:
    """For `fsq` the same takes thousands of codes to show: benchmarks/collapse.py."""
    torch.manual_seed(0)
    config = catalog.find("bottlenecks", name).Config(size=1024)
    shares = {}
    for weight in (0.0, 0.1):
        weights = {**config.usual_weights, "evenness": weight}
        shares[weight] = used(config.build(WIDTH), weights)
    assert shares[0.1] > 0.9
    assert shares[0.1] > shares[0.0] + 0.1
