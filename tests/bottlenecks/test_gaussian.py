"""The Gaussian posterior against torch.distributions, and its free bits."""

import math
from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vitrail.bottlenecks.gaussian import Config, Gaussian, divergence


def build(channels: int = 3, **settings: Any) -> Gaussian:
    torch.manual_seed(0)
    made = Config(channels=channels, **settings).build(8)
    assert isinstance(made, Gaussian)
    return made


def test_the_divergence_is_the_closed_form() -> None:
    mean, logvar = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(divergence(mean, logvar, torch.zeros(())), expected)


def test_the_divergence_from_another_scale_is_the_closed_form() -> None:
    mean, logvar, log_scale = torch.randn(3, 5, 3, 4, dtype=torch.float64)
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(torch.zeros_like(mean), log_scale.exp()))
    torch.testing.assert_close(divergence(mean, logvar, log_scale), expected)


@pytest.mark.parametrize("space", [(), (5,), (4, 3)])
def test_a_learned_scale_is_one_per_channel(space: tuple[int, ...]) -> None:
    made, h = build(prior="learned").eval(), torch.randn(6, 8, *space)
    assert torch.equal(made.scale(), build().scale())  # it begins at 1
    torch.testing.assert_close(made(h).terms, build().eval()(h).terms)
    with torch.no_grad():
        made.log_scale.copy_(torch.tensor([-1.0, 0.0, 2.0]))
    mean, logvar = made.posterior(h)
    scale = torch.tensor([-1.0, 0.0, 2.0]).exp().view(3, *(1,) * len(space))
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(torch.zeros_like(mean), scale.expand_as(mean)))
    torch.testing.assert_close(made(h).terms["kl"], expected.flatten(1).sum(1))
    torch.testing.assert_close(made.scale(), scale.flatten())


def test_the_best_scale_is_the_root_of_the_second_moment() -> None:
    """The KL is least at s^2 = E[mean^2 + variance], channel by channel: that is where gradient descent leads."""
    made, h = build(prior="learned").eval(), 3 * torch.randn(500, 8)
    mean, logvar = (each.detach() for each in made.posterior(h))
    with torch.no_grad():
        made.log_scale.copy_(0.5 * (mean.square() + logvar.exp()).mean(0).log())
    made(h).terms["kl"].mean().backward()
    assert made.log_scale.grad is not None
    assert made.log_scale.grad.abs().max() < 1e-5


@pytest.mark.parametrize("space", [(), (5,), (4, 3)])
def test_the_term_is_nats_per_sample(space: tuple[int, ...]) -> None:
    made, h = build().train(), torch.randn(6, 8, *space)
    mean, logvar = made.posterior(h)
    kl = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    latent = made(h)
    assert latent.terms["kl"].shape == (6,)
    torch.testing.assert_close(latent.terms["kl"], kl)
    torch.testing.assert_close(latent.stats["kl_nats"], kl.mean())


def test_training_draws_from_the_posterior_and_evaluation_takes_its_mean() -> None:
    made, h = build(), torch.randn(1, 8).expand(40_000, -1)
    mean, logvar = made.posterior(h[:1])
    torch.testing.assert_close(made.eval()(h[:1]).z, mean)
    z = made.train()(h).z
    torch.testing.assert_close(z.mean(0), mean[0], atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(0).log(), logvar[0], atol=0.05, rtol=0)


def test_noise_is_drawn_from_the_step_s_generator() -> None:
    made, h = build().train(), torch.randn(4, 8)
    drawn = []
    for _ in range(2):
        torch.manual_seed(7)
        drawn.append(made(h).z)
    assert torch.equal(*drawn)


def test_free_bits_cost_nothing_and_more_costs_as_before() -> None:
    """Kingma et al. 2016, eq. 15: max(lambda, batch mean of the KL) per channel."""
    h = torch.randn(16, 8, 4)
    plain, free = build(), build(free_bits=2.0)
    mean, logvar = plain.posterior(h)
    per_channel = divergence(mean, logvar, torch.zeros(())).sum(2).mean(0)  # nats
    per_channel_free = per_channel.clamp_min(2.0 * math.log(2)).sum()
    assert free(h).terms["kl"].shape == (16,)
    torch.testing.assert_close(free(h).terms["kl"].mean(), per_channel_free)
    torch.testing.assert_close(build(free_bits=1e-9)(h).terms["kl"].mean(), plain(h).terms["kl"].mean())


def test_within_its_free_bits_a_channel_feels_no_pull() -> None:
    made = build(free_bits=1000.0)
    made(torch.randn(4, 8)).terms["kl"].mean().backward()
    assert made.project.weight.grad is not None
    assert made.project.weight.grad.abs().max() == 0


def test_a_collapsed_channel_is_reported() -> None:
    made = build(channels=4)
    with torch.no_grad():
        made.project.weight.zero_()
        made.project.bias.copy_(torch.tensor([0.0, 0, 2, 2, 0, 0, 0, -3]))  # means, then log-variances
    latent = made(torch.randn(4, 8, 2))
    assert latent.stats["active_channels"] == 0.5


def test_extreme_inputs_stay_finite() -> None:
    made, h = build().train(), (1e6 * torch.randn(4, 8)).requires_grad_()
    latent = made(h)
    (latent.z.sum() + latent.terms["kl"].sum()).backward()
    assert latent.z.isfinite().all()
    assert h.grad is not None
    assert h.grad.isfinite().all()
