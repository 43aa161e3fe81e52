"""The Gaussian mixture: what it is fitted to is what it draws."""

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from vitrail.priors import mixture
from vitrail.priors.mixture import Config, Mixture, Settings
from vitrail.types import LatentSpec

MEANS = torch.tensor([[3.0, 0, 0, 1], [-3, 1, 0, 0]])
FACTORS = torch.tensor([0.5, 1.0])[:, None, None] * torch.tensor(
    [[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, -0.5, 0.5]]
)


def data(count: int) -> tuple[Tensor, Tensor]:
    """Three quarters from the first of two Gaussians; class 0 only from the first, class 1 from both, some unlabelled."""
    generator = torch.Generator().manual_seed(0)
    which = (torch.rand(count, generator=generator) > 0.75).long()
    noise = torch.randn(count, 4, generator=generator)
    z = MEANS[which] + torch.einsum("bij,bj->bi", FACTORS[which], noise)
    label = torch.where(which == 1, 1, torch.arange(count) % 2)
    label[::10] = -1
    return z.view(count, 1, 2, 2), label


def fitted(components: int = 2, count: int = 4000, **settings: int) -> Mixture:
    prior = Config(components=components, **settings).build(LatentSpec((1, 2, 2)), classes=3)
    assert isinstance(prior, Mixture)
    prior.fit(*data(count), seed=0)
    return prior


def density(prior: Mixture, row: int) -> MixtureSameFamily:
    """The distribution that its buffers say, for one class (the last row: any)."""
    return MixtureSameFamily(Categorical(prior.shares[row]), MultivariateNormal(prior.means, scale_tril=prior.factors))


def test_it_recovers_a_known_mixture() -> None:
    prior = fitted()
    order = prior.means[:, 0].argsort(descending=True)
    torch.testing.assert_close(prior.means[order], MEANS, atol=0.1, rtol=0)
    covariances = prior.factors @ prior.factors.mT
    torch.testing.assert_close(covariances[order], FACTORS @ FACTORS.mT, atol=0.12, rtol=0)
    torch.testing.assert_close(prior.shares[3, order], torch.tensor([0.75, 0.25]), atol=0.02, rtol=0)


def test_a_class_has_its_own_shares() -> None:
    prior = fitted()
    order = prior.means[:, 0].argsort(descending=True)
    z, label = data(4000)
    torch.testing.assert_close(prior.shares[0, order], torch.tensor([1.0, 0.0]), atol=0.01, rtol=0)
    share = (z[label == 1][:, 0, 0, 0] > 0).float().mean()
    torch.testing.assert_close(prior.shares[1, order[0]], share, atol=0.02, rtol=0)
    torch.testing.assert_close(prior.shares.sum(1), torch.ones(4))
    torch.testing.assert_close(prior.shares[2], prior.shares[3])  # a class without samples draws as if it were any


def test_its_density_is_that_of_scikit_learn() -> None:
    prior, (z, _) = fitted(components=5), data(4000)
    theirs = GaussianMixture(5, reg_covar=1e-4, random_state=0, max_iter=50).fit(z.flatten(1).double().numpy())
    ours = density(prior, 3).log_prob(z.flatten(1)).mean()
    assert float(ours) == pytest.approx(theirs.score(z.flatten(1).double().numpy()), abs=0.02)


@pytest.mark.parametrize("label", [-1, 0, 1])
def test_draws_follow_the_density(label: int) -> None:
    prior = fitted()
    z = prior.draw(0, range(4000), torch.full((4000,), label), Settings()).flatten(1)
    expected = density(prior, label)
    torch.testing.assert_close(z.mean(0), expected.mean, atol=0.15, rtol=0)
    torch.testing.assert_close(z.var(0), expected.variance, atol=0.3, rtol=0.05)


def test_temperature_zero_gives_the_means() -> None:
    prior = fitted()
    z = prior.draw(0, range(50), torch.full((50,), -1), Settings(temperature=0)).flatten(1)
    assert torch.cdist(z, prior.means).min(1).values.max() < 1e-5
    assert len(z.unique(dim=0)) == 2


def test_fewer_samples_than_components_leave_some_unused() -> None:
    prior = fitted(components=20, count=6)
    assert (prior.shares[:, 6:] == 0).all()
    z = prior.draw(0, range(200), torch.full((200,), -1), Settings()).flatten(1)
    assert z.isfinite().all()
    assert (z.abs().sum(1) > 0).all()  # none from an unused component, whose mean is 0


def test_only_so_many_are_fitted_on() -> None:
    few, all_ = fitted(fit_on=100), fitted()
    assert not torch.equal(few.means, all_.means)


def test_large_latents_have_diagonal_covariances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "FULL", 3)
    prior = fitted()
    assert prior.factors.shape == (2, 4)
    z = prior.draw(0, range(4000), torch.full((4000,), -1), Settings()).flatten(1)
    torch.testing.assert_close(z.var(0), data(4000)[0].flatten(1).var(0), atol=0.3, rtol=0.05)


def test_fitting_is_repeatable_with_any_seed() -> None:
    prior, again = (Config(components=2).build(LatentSpec((1, 2, 2)), classes=0) for _ in range(2))
    for each in (prior, again):
        each.fit(*data(300), seed=(1 << 40) + 1)
    assert torch.equal(prior.means, again.means)


def test_the_choice_of_a_component_says_nothing_of_the_noise_within() -> None:
    made = Config(components=20).build(LatentSpec((4,)), 0)
    made.factors.copy_(torch.eye(4))
    made.means.copy_(torch.arange(20.0)[:, None].expand(20, 4) * 100)
    z = made.draw(0, range(4000), torch.full((4000,), -1), Settings())
    within = z - (z / 100).round() * 100
    component = (z[:, 0] / 100).round()
    spreads = torch.stack([within[component == k, 0].std() for k in range(20)])
    assert ((spreads - 1).abs() < 0.25).all()


def test_a_single_sample_is_drawn_again() -> None:
    prior = fitted(count=1)
    z = prior.draw(0, range(50), torch.full((50,), -1), Settings())
    torch.testing.assert_close(z, data(1)[0].expand(50, -1, -1, -1), atol=0.1, rtol=0)
