"""The gated PixelCNN: order, probabilities that sum to 1, drawing place by place, conditions."""

import itertools
import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.priors.pixelcnn import Config, PixelCNN, Settings
from vitrail.samplers import noise
from vitrail.samplers.discrete import autoregressive as sampler
from vitrail.types import Latent, LatentSpec

K = 5
GRIDS = [(6,), (1, 4), (4, 3)]


def build(
    levels: int = 1, grid: tuple[int, ...] = (4, 3), classes: int = 3, size: int = K, awake: bool = True, **fields: Any
) -> PixelCNN:
    torch.manual_seed(0)
    config = Config(**{"width": 8, "depth": 2, "first": 3, **fields})
    prior = config.build(LatentSpec((4, *grid), levels, size), classes)
    assert isinstance(prior, PixelCNN)
    if awake:
        for weight in prior.parameters():
            weight.data = 0.5 * torch.randn(weight.shape)
    return prior.eval()


def codes(levels: int = 1, grid: tuple[int, ...] = (4, 3), count: int = 4, size: int = K) -> Tensor:
    return torch.randint(0, size, (count, levels, *grid), generator=torch.Generator().manual_seed(1))


def latent(x: Tensor) -> Latent:
    return Latent(x.float(), x)


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_first_loss_is_log_k(grid: tuple[int, ...], levels: int) -> None:
    prior = build(levels, grid, awake=False).train()
    loss = prior.terms(latent(codes(levels, grid)), torch.tensor([0, 1, 2, -1]))["nats"]
    assert loss.item() == pytest.approx(math.log(K), abs=1e-6)


def test_an_untrained_one_takes_binary_pictures_for_noise() -> None:
    """784 ln 2 = 543.4 nats, where every published figure begins."""
    prior, x = build(1, (28, 28), 0, 2, awake=False), codes(1, (28, 28), 2, 2)
    nats = prior.nats(latent(x), torch.tensor([-1, -1]), 0, [0, 1])
    assert nats.tolist() == pytest.approx([543.427] * 2, abs=1e-3)


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("grid", GRIDS)
def test_logits_depend_on_earlier_codes_only(grid: tuple[int, ...], levels: int) -> None:
    prior, label = build(levels, grid), torch.tensor([0, 1, 2, -1])
    x = codes(levels, grid)
    tokens = x.movedim(1, -1).flatten(1)
    whole = prior.logits(x, label).flatten(1, -2)  # (B, T, K)
    assert whole.shape == (4, tokens.shape[1], K)
    for t in range(tokens.shape[1] - 1):
        changed = tokens.clone()
        changed[:, t:] = (changed[:, t:] + 1) % K
        logits = prior.logits(changed.unflatten(1, (*grid, levels)).movedim(-1, 1), label).flatten(1, -2)
        torch.testing.assert_close(logits[:, : t + 1], whole[:, : t + 1])
        assert not torch.isclose(logits[:, t + 1], whole[:, t + 1]).all()


@pytest.mark.parametrize(("levels", "grid"), [(1, (2, 2)), (2, (2, 1)), (1, (4,))])
def test_probabilities_sum_to_one(levels: int, grid: tuple[int, ...]) -> None:
    """All 16 binary grids."""
    prior = build(levels, grid, size=2)
    every = torch.tensor(list(itertools.product((0, 1), repeat=4))).view(16, *grid, levels).movedim(-1, 1)
    for label in (0, -1):
        nats = prior.nats(latent(every), torch.full((16,), label), 0, range(16))
        assert nats.dtype == torch.float64
        assert (-nats).exp().sum().item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("levels", [1, 3])
def test_nats_are_the_term_times_the_codes(levels: int) -> None:
    prior, x, label = build(levels), codes(levels), torch.tensor([0, 1, 2, -1])
    nats = prior.nats(latent(x), label, 0, range(4))
    term = prior.terms(latent(x), label)["nats"]
    assert nats.mean().item() == pytest.approx(float(term.detach()) * x[0].numel(), rel=1e-5)
    torch.testing.assert_close(prior.nats(latent(x[2:3]), label[2:3], 7, [9]), nats[2:3])


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("grid", GRIDS)
def test_walking_gives_the_logits_of_whole_passes(grid: tuple[int, ...], levels: int) -> None:
    prior, label, x = build(levels, grid), torch.tensor([0, 1, 2, -1]), codes(levels, grid)
    whole = prior.logits(x, label).flatten(1, -2)
    step, token = prior.stepper(label, grid), None
    for t, given in enumerate(x.movedim(1, -1).flatten(1).unbind(1)):
        torch.testing.assert_close(step(token), whole[:, t])
        token = given


@pytest.mark.parametrize("settings", [Settings(), Settings(temperature=0.7, top_k=3), Settings(guidance=2.5)])
def test_drawing_is_sampling_from_whole_passes(settings: Settings) -> None:
    prior, label, numbers = build(2), torch.tensor([0, 1, -1]), [3, 1, 8]
    drawn = prior.draw(5, numbers, label, settings)
    uniform, slow = noise.uniform(5, numbers, (24,)), torch.zeros(3, 24, dtype=torch.int64)
    for t in range(24):
        x = slow.unflatten(1, (4, 3, 2)).movedim(-1, 1)
        with_class, without = (prior.logits(x, each).flatten(1, -2)[:, t] for each in (label, torch.full((3,), -1)))
        logits = without + settings.guidance * (with_class - without)
        chances = sampler.truncated(logits.double(), settings.temperature, settings.top_k, settings.top_p)
        slow[:, t] = sampler.draw(chances, uniform[:, t])
    assert torch.equal(drawn, slow.unflatten(1, (4, 3, 2)).movedim(-1, 1))


def test_it_draws_with_the_probabilities_that_it_states() -> None:
    prior, count = build(1, (2, 2), 0, 2), 20_000
    drawn = prior.draw(0, range(count), torch.full((count,), -1), Settings()).flatten(1)
    found = torch.bincount((drawn * torch.tensor([8, 4, 2, 1])).sum(1), minlength=16) / count
    every = torch.tensor(list(itertools.product((0, 1), repeat=4))).view(16, 1, 2, 2)
    stated = (-prior.nats(latent(every), torch.full((16,), -1), 0, range(16))).exp()
    torch.testing.assert_close(found.double(), stated, atol=4 * 0.5 / count**0.5, rtol=0)


def test_it_learns_what_decides_a_place() -> None:
    """Rows are copies of the first one, whose places are even bits: 3 of 12 bits are news."""
    prior, generator = build(1, (4, 3), 0, 2, awake=False, width=16).train(), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(prior.parameters(), 2e-2)
    for _ in range(120):
        x = torch.randint(0, 2, (32, 1, 1, 3), generator=generator).expand(-1, -1, 4, -1)
        loss = prior.terms(latent(x), torch.full((32,), -1))["nats"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert 12 * loss.item() == pytest.approx(3 * math.log(2), abs=0.1)


def test_labels_are_dropped_in_training_only() -> None:
    prior, x, label = build(label_dropout=1 - 1e-9), codes(), torch.tensor([0, 1, 2, 0])
    unknown = prior.nats(latent(x), torch.full((4,), -1), 0, range(4)).mean() / 12
    assert prior.train().terms(latent(x), label)["nats"].item() == pytest.approx(unknown.item(), rel=1e-5)
    assert prior.eval().terms(latent(x), label)["nats"].item() != pytest.approx(unknown.item(), rel=1e-2)


def test_one_that_never_sees_a_class_knows_none() -> None:
    prior, x = build(label_dropout=1.0), codes()
    assert prior.classes == 0
    by_class, without = (prior.nats(latent(x), torch.full((4,), label), 0, range(4)) for label in (2, -1))
    assert torch.equal(by_class, without)


def test_what_it_cannot_model_is_refused() -> None:
    with pytest.raises(UsageError, match="this bottleneck has none; use bottleneck=vq, or for pixels network=identity"):
        Config().build(LatentSpec((4, 2, 2)), 0)
    for grid in ((), (2, 2, 2)):
        with pytest.raises(UsageError, match=f"1 or 2 axes, these have {len(grid)}; use prior=autoregressive"):
            Config().build(LatentSpec((4, *grid), 1, K), 0)
    with pytest.raises(ValidationError, match="4 has no middle; use 3 or 5"):
        Config(kernel=4)
