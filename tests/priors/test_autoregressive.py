"""The transformer over codes: order, conditioning, the cache and guidance."""

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.priors.autoregressive import Autoregressive, Config, Settings
from vitrail.types import Latent, LatentSpec

K = 5


def build(
    levels: int = 1, grid: tuple[int, ...] = (3, 2), classes: int = 3, awake: bool = True, **settings: Any
) -> Autoregressive:
    torch.manual_seed(0)
    config = Config(**{"width": 16, "depth": 2, "heads": 2, **settings})
    prior = config.build(LatentSpec((4, *grid), levels, K), classes)
    assert isinstance(prior, Autoregressive)
    if awake:
        for weight in prior.parameters():
            weight.data = 0.3 * torch.randn(weight.shape)
    return prior.eval()


def codes(levels: int = 1, grid: tuple[int, ...] = (3, 2), count: int = 4) -> Tensor:
    return torch.randint(0, K, (count, levels, *grid), generator=torch.Generator().manual_seed(1))


def nats(prior: Autoregressive, x: Tensor, label: Tensor) -> Tensor:
    return prior.terms(Latent(x.float(), x), label)["nats"]


@pytest.mark.parametrize("rotary", [True, False])
@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("grid", [(), (6,), (3, 2), (2, 1, 3)])
def test_the_first_loss_is_log_k(grid: tuple[int, ...], levels: int, rotary: bool) -> None:
    prior = build(levels, grid, awake=False, rotary=rotary).train()
    loss = nats(prior, codes(levels, grid), torch.tensor([0, 1, 2, -1]))
    assert loss.item() == pytest.approx(math.log(K), abs=1e-6)


@pytest.mark.parametrize("levels", [1, 3])
def test_logits_depend_on_earlier_tokens_only(levels: int) -> None:
    prior, label = build(levels), torch.tensor([0, 1, 2, -1])
    tokens = prior.tokens(codes(levels))
    length = tokens.shape[1]
    whole = prior.logits(tokens[:, :-1], label)
    assert whole.shape == (4, length, K)
    for t in range(length - 1):
        changed = tokens.clone()
        changed[:, t:] = (changed[:, t:] + 1) % K
        logits = prior.logits(changed[:, :-1], label)
        assert torch.equal(logits[:, : t + 1], whole[:, : t + 1])
        assert not torch.equal(logits[:, t + 1], whole[:, t + 1])
        torch.testing.assert_close(prior.logits(tokens[:, :t], label), whole[:, : t + 1])


@pytest.mark.parametrize("levels", [1, 3])
def test_step_by_step_with_the_cache_gives_the_same_logits(levels: int) -> None:
    prior, label = build(levels), torch.tensor([0, 1, 2, -1])
    tokens = prior.tokens(codes(levels))
    step = prior.stepper(label)
    stepped = torch.stack([step(tokens[:, t - 1] if t else None) for t in range(tokens.shape[1])], dim=1)
    torch.testing.assert_close(stepped, prior.logits(tokens[:, :-1], label), atol=1e-5, rtol=1e-5)


def test_nats_are_the_mean_over_the_chain() -> None:
    prior, label, x = build(2), torch.tensor([0, 1, 2, -1]), codes(2)
    tokens = prior.tokens(x)
    logs = prior.logits(tokens[:, :-1], label).log_softmax(-1)
    torch.testing.assert_close(nats(prior, x, label), -logs.gather(2, tokens[..., None]).mean())


def test_probabilities_of_all_sequences_add_up_to_one() -> None:
    prior = build(grid=(3,))
    every = torch.cartesian_prod(*[torch.arange(K)] * 3)
    logs = prior.logits(every[:, :-1], torch.full((len(every),), 1)).double().log_softmax(-1)
    assert logs.gather(2, every[..., None]).sum((1, 2)).exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_levels_of_a_point_lie_next_to_each_other() -> None:
    prior, x = build(3), codes(3)
    tokens = prior.tokens(x)
    assert tokens[0, :3].tolist() == x[0, :, 0, 0].tolist()
    assert tokens[0, 3:6].tolist() == x[0, :, 0, 1].tolist()
    assert torch.equal(prior.codes(tokens), x)


def test_levels_have_their_own_embeddings() -> None:
    prior = build(3)
    assert prior.code.weight.shape == (3 * K, 16)
    assert (prior._level(7, torch.device("cpu")) // K).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_labels_are_dropped_in_training_only() -> None:
    x, label = codes(), torch.tensor([0, 1, 2, 0])
    always, never = build(label_dropout=1.0), build(label_dropout=0.0)
    without = nats(always.eval(), x, torch.full((4,), -1))
    assert torch.equal(nats(always.train(), x, label), without)
    assert not torch.equal(nats(always.eval(), x, label), without)
    assert torch.equal(nats(never.train(), x, label), nats(never.eval(), x, label))


def test_the_class_matters() -> None:
    prior, x = build(), codes()
    losses = {nats(prior, x, torch.full((4,), label)).item() for label in (-1, 0, 1, 2)}
    assert len(losses) == 4


@pytest.mark.parametrize("levels", [1, 3])
def test_temperature_zero_rolls_out_the_likeliest(levels: int) -> None:
    prior, label = build(levels), torch.tensor([0, 2, -1])
    tokens = torch.zeros(3, 0, dtype=torch.int64)
    for _ in range(prior.length):
        tokens = torch.cat([tokens, prior.logits(tokens, label)[:, -1:].argmax(-1)], dim=1)
    drawn = prior.draw(0, [0, 1, 2], label, Settings(temperature=0))
    assert torch.equal(drawn, prior.codes(tokens))


def test_guidance_one_is_none_and_zero_forgets_the_class() -> None:
    prior, label = build(), torch.tensor([0, 1, 2, 0, 1, 2])
    numbers = range(6)
    plain = prior.draw(0, numbers, label, Settings())
    assert torch.equal(prior.draw(0, numbers, label, Settings(guidance=1.0)), plain)
    unconditional = prior.draw(0, numbers, torch.full((6,), -1), Settings())
    assert torch.equal(prior.draw(0, numbers, label, Settings(guidance=0.0)), unconditional)
    assert not torch.equal(prior.draw(0, numbers, label, Settings(guidance=4.0)), plain)
    assert torch.equal(prior.draw(0, numbers, torch.full((6,), -1), Settings(guidance=4.0)), unconditional)


def test_guidance_follows_the_formula() -> None:
    prior, label = build(), torch.tensor([0, 1, 2])
    tokens = torch.zeros(3, 0, dtype=torch.int64)
    for _ in range(prior.length):
        with_class, without = (prior.logits(tokens, each)[:, -1:] for each in (label, torch.full((3,), -1)))
        tokens = torch.cat([tokens, (without + 3 * (with_class - without)).argmax(-1)], dim=1)
    assert torch.equal(prior.draw(0, range(3), label, Settings(temperature=0, guidance=3.0)), prior.codes(tokens))


def test_without_classes_guidance_changes_nothing() -> None:
    prior, label = build(classes=0), torch.full((3,), -1)
    assert torch.equal(prior.draw(0, range(3), label, Settings(guidance=3)), prior.draw(0, range(3), label, Settings()))


def test_it_learns_a_chain() -> None:
    """Each code is the one before it plus its class: after some steps nothing is left to guess but the first."""
    prior = build(grid=(6,), awake=False, label_dropout=0.0).train()
    optimiser = torch.optim.AdamW(prior.parameters(), lr=1e-2)
    for step in range(150):
        generator = torch.Generator().manual_seed(step)
        label = torch.randint(0, 3, (64,), generator=generator)
        first = torch.randint(0, K, (64, 1, 1), generator=generator)
        x = (first + label[:, None, None] * torch.arange(6)) % K
        loss = nats(prior, x, label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 1.1 * math.log(K) / 6
    label = torch.arange(30) % 3
    drawn = prior.eval().draw(0, range(30), label, Settings()).squeeze(1)
    right = (drawn[:, 1:] - drawn[:, :-1] - label[:, None]) % K == 0
    assert right.float().mean() > 0.95


@pytest.mark.parametrize(("width", "heads"), [(16, 3), (24, 8), (10, 4)])
def test_heads_that_do_not_divide_are_refused(width: int, heads: int) -> None:
    with pytest.raises(ValidationError, match="multiple of twice the heads"):
        Config(width=width, heads=heads)


def test_a_continuous_latent_is_refused_with_advice() -> None:
    with pytest.raises(UsageError, match="prior=mixture or bottleneck=vq"):
        Config().build(LatentSpec((4, 3, 2)), 0)


@pytest.mark.parametrize("levels", [1, 3])
def test_nats_of_a_sample_are_those_of_all_its_codes(levels: int) -> None:
    prior, x, label = build(levels, label_dropout=0.0), codes(levels), torch.tensor([0, 1, 2, -1])
    latent = Latent(x.float(), x)
    exact = prior.nats(latent, label, 0, range(4))
    assert exact.shape == (4,)
    assert exact.dtype == torch.float64
    assert exact.mean().item() / (6 * levels) == pytest.approx(nats(prior, x, label).item(), abs=1e-5)
    assert prior.likelihood == "exact"


def test_crops_and_hints_give_no_likelihood() -> None:
    x, label = codes(), torch.tensor([0, 1, 2, -1])
    hinted = Config(width=16, depth=1, heads=2).build(LatentSpec((4, 3, 2), 1, K), 3, True)
    for prior, reason in ((build(window=2), "a window of 2x2 on codes of 3x2"), (hinted, "reads hints")):
        assert prior.likelihood == "none"
        with pytest.raises(UsageError, match=reason):
            prior.nats(Latent(x.float(), x), label, 0, range(4))


def test_corrupted_codes_are_read_in_training_only_and_never_the_target() -> None:
    clean, corrupted = build(), build(corruption=0.5)
    x, label = codes(count=64), torch.full((64,), -1)
    assert torch.equal(nats(clean, x, label), nats(corrupted, x, label))
    tokens = corrupted.tokens(x)
    assert torch.equal(corrupted._corrupted(tokens), tokens)
    torch.manual_seed(0)
    changed = (corrupted.train()._corrupted(tokens) != tokens).float().mean()
    assert changed == pytest.approx(0.5 * (K - 1) / K, abs=0.1)  # a replacement may be what was there
    assert torch.equal(nats(clean.train(), x, label), nats(clean, x, label))
    assert not torch.equal(nats(corrupted, x, label), nats(clean, x, label))
