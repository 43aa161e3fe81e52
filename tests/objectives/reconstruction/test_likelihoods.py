"""Each likelihood against a closed form or torch.distributions."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Laplace, Normal

from vitrail.objectives.reconstruction import bernoulli, discretized_logistic, gaussian, l1, mse
from vitrail.objectives.reconstruction._likelihood import Likelihood


def _example(outputs: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, outputs, 5, 6, generator=generator), torch.rand(4, channels, 5, 6, generator=generator)


def _per_sample(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1)


def _cost(likelihood: Likelihood, params: Tensor, x: Tensor) -> Tensor:
    return likelihood.terms(params, x)["reconstruction"]


def test_mse_is_the_gaussian_of_variance_one_half() -> None:
    params, x = _example(3)
    normal = Normal(0.5 + 0.5 * params, math.sqrt(0.5))
    constant = 0.5 * math.log(math.pi) * 90
    torch.testing.assert_close(_cost(mse.Config().build(3), params, x), -_per_sample(normal.log_prob(x)) - constant)


def test_l1_is_the_laplace_of_scale_one() -> None:
    params, x = _example(3)
    laplace = Laplace(0.5 + 0.5 * params, 1.0)
    torch.testing.assert_close(
        _cost(l1.Config().build(3), params, x), -_per_sample(laplace.log_prob(x)) - math.log(2) * 90
    )


def test_bernoulli_equals_torch_distributions() -> None:
    params, x = _example(3)
    expected = -_per_sample(Bernoulli(logits=params, validate_args=False).log_prob(x))
    torch.testing.assert_close(_cost(bernoulli.Config().build(3), params, x), expected)


def test_gaussian_pixel_equals_torch_distributions() -> None:
    params, x = _example(6)
    sigma = gaussian.bound(params[:, 3:]).exp()
    expected = -_per_sample(Normal(0.5 + 0.5 * params[:, :3], sigma).log_prob(x))
    torch.testing.assert_close(_cost(gaussian.Config(variance="pixel").build(3), params, x), expected)


def test_gaussian_shared_starts_at_a_sixteenth_and_learns() -> None:
    params, x = _example(3)
    likelihood = gaussian.Config(variance="shared").build(3)
    nats = _cost(likelihood, params, x)
    torch.testing.assert_close(nats, -_per_sample(Normal(0.5 + 0.5 * params, 255**-0.5).log_prob(x)))
    nats.sum().backward()
    assert likelihood.raw.grad is not None
    assert likelihood.raw.grad != 0


def test_gaussian_optimal_is_never_worse_than_any_other_shared_sigma() -> None:
    params, x = _example(3)
    likelihood = gaussian.Config(variance="optimal").build(3)
    best = _cost(likelihood, params, x).sum()
    for sigma in (0.1, 0.3, 0.5, 0.6, 0.9):
        assert best <= -Normal(0.5 + 0.5 * params, sigma).log_prob(x).sum()
    sigma = (0.5 + 0.5 * params - x).square().mean().sqrt()
    torch.testing.assert_close(best, -Normal(0.5 + 0.5 * params, sigma).log_prob(x).sum())


def test_gaussian_optimal_remembers_its_variance_for_evaluation() -> None:
    params, x = _example(3)
    likelihood = gaussian.Config(variance="optimal").build(3)
    trained = [_cost(likelihood, params, x) for _ in range(1000)][-1]
    copy = gaussian.Config(variance="optimal").build(3).eval()
    copy.load_state_dict(likelihood.state_dict())
    torch.testing.assert_close(_cost(copy, params, x), trained, rtol=1e-3, atol=1e-3)


def test_gaussian_optimal_forgets_a_broken_batch() -> None:
    params, x = _example(3)
    likelihood = gaussian.Config(variance="optimal").build(3)
    assert _cost(likelihood, params * torch.nan, x).isnan().all()
    assert likelihood.running.isfinite()


HALF_OF_A_BATCH = """
import sys
import torch
from vitrail.objectives.reconstruction import gaussian

rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
params, x = torch.linspace(-1, 1, 24).view(4, 1, 6), torch.linspace(0, 1, 24).view(4, 1, 6) ** 2
likelihood = gaussian.Config(variance="optimal").build(1)
nats = likelihood.terms(params[2 * rank : 2 * rank + 2], x[2 * rank : 2 * rank + 2])["reconstruction"]
print(nats.sum().item(), likelihood.running.item())
"""


def test_gaussian_optimal_takes_its_variance_over_all_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HALF_OF_A_BATCH]
    children = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    results = [[float(word) for word in child.communicate(timeout=120)[0].split()] for child in children]
    params, x = torch.linspace(-1, 1, 24).view(4, 1, 6), torch.linspace(0, 1, 24).view(4, 1, 6) ** 2
    likelihood = gaussian.Config(variance="optimal").build(1)
    whole = float(_cost(likelihood, params, x).sum())
    assert sum(nats for nats, _ in results) == pytest.approx(whole, rel=1e-5)
    assert results[0][1] == results[1][1] == pytest.approx(float(likelihood.running), rel=1e-6)


@pytest.mark.parametrize("variance", ["shared", "pixel", "optimal"])
def test_gaussian_does_not_collapse_on_perfect_reconstructions(variance: gaussian.Variance) -> None:
    likelihood = gaussian.Config(variance=variance).build(1)
    params = torch.zeros(2, likelihood.outputs, 4, 4)
    params[:, 1:] = -100
    nats = _cost(likelihood, params, torch.full((2, 1, 4, 4), 0.5))
    assert nats.isfinite().all()
    assert nats.min() >= 16 * (math.log(1 / 255) + 0.5 * math.log(2 * math.pi)) - 1e-3


@pytest.mark.parametrize("scale", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("mixtures", [1, 5])
def test_discretized_logistic_sums_to_one_over_all_grey_values(mixtures: int, scale: float) -> None:
    likelihood = discretized_logistic.Config(mixtures=mixtures).build(1)
    params = scale * torch.randn(6, likelihood.outputs, 1, generator=torch.Generator().manual_seed(0))
    values = torch.arange(256) / 255
    nats = torch.stack([_cost(likelihood, params, value.expand(6, 1, 1)) for value in values])
    torch.testing.assert_close((-nats.double()).exp().sum(0), torch.ones(6, dtype=torch.float64), atol=2e-5, rtol=0)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_discretized_logistic_conditionals_of_rgb_sum_to_one(channel: int) -> None:
    likelihood = discretized_logistic.Config(mixtures=1).build(3)
    params = torch.randn(1, likelihood.outputs, generator=torch.Generator().manual_seed(0))
    _, means, log_scales, coefficients = likelihood.split(params.expand(256, -1))
    x = torch.full((256, 1, 3), 0.2)  # the other two channels
    x[:, 0, channel] = torch.linspace(-1, 1, 256)
    means = discretized_logistic.couple(means, coefficients, x)
    probability = discretized_logistic.logistic_bin_log_probability(x, means, log_scales)[:, 0, channel].double().exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-5)


def test_discretized_logistic_equals_the_paper_in_double_precision() -> None:
    likelihood = discretized_logistic.Config(mixtures=4).build(3)
    params, x = _example(likelihood.outputs)
    x = (x * 255).round() / 255
    torch.testing.assert_close(_cost(likelihood, params, x).double(), _paper_nats(params, x, 4), rtol=1e-5, atol=1e-3)


def test_discretized_logistic_mean_is_the_mean_of_its_probabilities() -> None:
    likelihood = discretized_logistic.Config(mixtures=3).build(1)
    params = 0.3 * torch.randn(5, likelihood.outputs, 1, generator=torch.Generator().manual_seed(0))
    params[:, [2, 5, 8]] -= 4  # narrow, so that nothing is cut off at the ends
    values = torch.arange(256) / 255
    nats = torch.stack([_cost(likelihood, params, value.expand(5, 1, 1)) for value in values])
    expected = ((-nats).exp() * values[:, None]).sum(0)
    torch.testing.assert_close(likelihood.mean(params).flatten(), expected, atol=1e-3, rtol=0)


def test_only_the_discretized_logistic_is_exact() -> None:
    parts = (mse, l1, bernoulli, gaussian, discretized_logistic)
    assert [part.Config().build(1).exact for part in parts] == [False, False, False, False, True]


def _paper_nats(params: Tensor, x: Tensor, mixtures: int) -> Tensor:
    """Salimans 2017, eq. 1-3, by differences of sigmoids in float64."""
    groups = params.double().unflatten(1, (mixtures, 10))
    x = 2 * x.double().unsqueeze(1) - 1  # (B, 1, 3, H, W)
    log_scale = -7 + torch.nn.functional.softplus(groups[:, :, 4:7] + 7)
    mean = groups[:, :, 1:4] + torch.linspace(-0.5, 0.5, mixtures).double().view(-1, 1, 1, 1)
    coefficients = groups[:, :, 7:].tanh()
    mean = torch.stack(
        (
            mean[:, :, 0],
            mean[:, :, 1] + coefficients[:, :, 0] * x[:, :, 0],
            mean[:, :, 2] + coefficients[:, :, 1] * x[:, :, 0] + coefficients[:, :, 2] * x[:, :, 1],
        ),
        dim=2,
    )
    upper = torch.sigmoid((x - mean + 1 / 255) / log_scale.exp()).where(x < 0.999, 1.0)
    lower = torch.sigmoid((x - mean - 1 / 255) / log_scale.exp()).where(x > -0.999, 0.0)
    per_mixture = (upper - lower).log().sum(2) + groups[:, :, 0].log_softmax(1)
    return _per_sample(-per_mixture.logsumexp(1))
