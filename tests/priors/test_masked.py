"""The prior that predicts hidden codes: what it reads, its bound, its guidance, its gaps."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.priors.masked import Config, Masked, Settings, stratified
from vitrail.types import Latent, LatentSpec

K = 5
ANY = torch.tensor([0, 1, 2, -1])
NONE = torch.full((64,), -1)


def build(
    levels: int = 1,
    grid: tuple[int, ...] = (3, 2),
    classes: int = 3,
    conditional: bool = False,
    awake: bool = True,
    **settings: Any,
) -> Masked:
    torch.manual_seed(0)
    config = Config(**{"width": 16, "depth": 2, "heads": 2, **settings})
    prior = config.build(LatentSpec((4, *grid), levels, K), classes, conditional)
    assert isinstance(prior, Masked)
    if awake:
        for weight in prior.parameters():
            weight.data = 0.3 * torch.randn(weight.shape)
    return prior.eval()


def codes(levels: int = 1, grid: tuple[int, ...] = (3, 2), count: int = 4, seed: int = 1) -> Tensor:
    return torch.randint(0, K, (count, levels, *grid), generator=torch.Generator().manual_seed(seed))


def whole(x: Tensor) -> Latent:
    return Latent(x.float(), x)


@pytest.mark.parametrize("loss", ["diffusion", "maskgit"])
@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("grid", [(), (6,), (3, 2), (2, 1, 3)])
def test_the_first_loss_is_log_k(grid: tuple[int, ...], levels: int, loss: str) -> None:
    prior = build(levels, grid, awake=False, loss=loss)
    for mode in (True, False):
        term = prior.train(mode).terms(whole(codes(levels, grid)), ANY)["nats"]
        assert term.item() == pytest.approx(math.log(K), abs=1e-6)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("levels", [1, 2])
def test_states_of_some_places_are_those_of_all(levels: int, conditional: bool) -> None:
    prior = build(levels, conditional=conditional)
    length = 6 * levels
    hidden = torch.rand(4, length, generator=torch.Generator().manual_seed(0)) < torch.tensor(
        [[0.2], [0.9], [1], [0.5]]
    )
    hidden[:, :2] = True
    tokens = codes(levels).flatten(1).masked_fill(hidden, -1)
    hint = codes(levels, seed=2) if conditional else None
    places = torch.tensor([[0, 1], [1, 0], [0, 1], [1, 0]])
    some = prior.states_at(tokens, places, ANY, hint)
    every = prior.states(tokens, ANY, hint)
    torch.testing.assert_close(some, every.gather(1, places.unsqueeze(-1).expand(-1, -1, 16)), atol=1e-5, rtol=1e-4)


def test_every_shown_code_the_class_and_the_hint_matter() -> None:
    prior, hint = build(conditional=True), codes(seed=2)
    tokens = codes().flatten(1)
    tokens[:, 3] = -1
    state = prior.states(tokens, ANY, hint)[:, 3]
    assert not torch.allclose(prior.states(tokens, ANY.roll(1), hint)[:, 3], state)
    for place in range(6):
        other, changed = hint.clone(), tokens.clone()
        other.view(4, 6)[:, place] = (other.view(4, 6)[:, place] + 1) % K
        changed[:, place] = (changed[:, place] + 1) % K
        assert not torch.allclose(prior.states(tokens, ANY, other)[:, 3], state)
        if place != 3:
            assert not torch.allclose(prior.states(changed, ANY, hint)[:, 3], state)


@pytest.mark.parametrize("x", list(product(range(2), repeat=3)))
def test_the_bound_of_an_exact_posterior_is_the_likelihood(x: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is hidden, the logarithms of exact conditionals add up to that of the joint; so the average over data is the
    entropy."""
    prior = Config(width=16, depth=1, heads=2).build(LatentSpec((4, 3), 1, 2), 0)
    assert isinstance(prior, Masked)
    every = torch.tensor(list(product(range(2), repeat=3)))
    joint = torch.tensor([0.30, 0.02, 0.03, 0.15, 0.05, 0.20, 0.24, 0.01], dtype=torch.float64)

    def posterior(tokens: Tensor, label: Tensor, condition: Tensor | None = None) -> Tensor:
        possible = ((every == tokens[:, None]) | (tokens[:, None] < 0)).all(-1)
        return torch.einsum("bs,stk->btk", possible * joint, torch.nn.functional.one_hot(every, 2).double()).log()

    monkeypatch.setattr(prior, "states", posterior)
    head = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
    head.weight.data = torch.eye(2, dtype=torch.float64)
    monkeypatch.setattr(prior, "head", head)
    count = 600
    sample = torch.tensor(x).expand(count, 1, 3)
    nats = prior.nats(whole(sample), torch.full((count,), -1), 0, range(count))
    assert nats.shape == (count,)
    assert nats.dtype == torch.float64
    truth = -joint[int((every == torch.tensor(x)).all(1).nonzero())].log().item()
    error = nats.std().item() / math.sqrt(count)
    assert nats.mean().item() == pytest.approx(truth, abs=4.5 * error + 1e-6)


def test_nats_belong_to_the_sample() -> None:
    prior, x = build(2), codes(2)
    nats = prior.nats(whole(x), ANY, 3, [7, 0, 2, 5])
    torch.testing.assert_close(prior.nats(whole(x[1:2]), ANY[1:2], 3, [0]), nats[1:2], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(prior.nats(whole(x), ANY, 4, [7, 0, 2, 5]), nats)


def test_with_a_hint_there_is_no_likelihood_and_no_filling() -> None:
    prior = build(conditional=True)
    assert prior.likelihood == "none"
    with pytest.raises(UsageError, match="gives no likelihood"):
        prior.nats(whole(codes()), ANY, 0, range(4))
    with pytest.raises(UsageError, match="fills no gaps"):
        prior.infill(0, range(4), ANY, Settings(), codes())


def test_shares_are_spread_over_the_batch() -> None:
    shares = stratified(torch.tensor([0.3]), 8)
    assert (shares * 8).long().tolist() == list(range(8))
    counts = build()._hidden(torch.arange(12) / 12, torch.rand(12, 6)).sum(1)
    assert counts.tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_maskgit_hides_more_in_training_and_is_judged_alike() -> None:
    bound, maskgit = build(loss="diffusion", label_dropout=0.0), build(loss="maskgit", label_dropout=0.0)
    x = whole(codes())
    assert torch.equal(bound.terms(x, ANY)["nats"], maskgit.terms(x, ANY)["nats"])
    for prior in (bound, maskgit):
        torch.manual_seed(0)
        prior.train()
    assert not torch.equal(bound.terms(x, ANY)["nats"], maskgit.terms(x, ANY)["nats"])


@pytest.mark.parametrize("order", ["halton", "confidence", "random", "first-hitting"])
@pytest.mark.parametrize("levels", [1, 2])
def test_guidance(levels: int, order: str) -> None:
    prior, label = build(levels), torch.tensor([0, 1, 2])
    plain = prior.draw(0, range(3), label, Settings(order=order))
    none, free = torch.full((3,), -1), Settings(order=order, guidance=0.0, ramp=False)
    assert torch.equal(prior.draw(0, range(3), label, free), prior.draw(0, range(3), none, Settings(order=order)))
    pushed = prior.draw(0, range(3), label, Settings(order=order, guidance=9.0))
    assert not torch.equal(pushed, plain)
    again = Settings(order=order, guidance=9.0)
    assert torch.equal(prior.draw(0, range(3), none, again), prior.draw(0, range(3), none, Settings(order=order)))


def test_guidance_grows_with_what_is_drawn() -> None:
    prior, label = build(), torch.tensor([0, 1, 2])
    tokens, places = torch.full((3, 6), -1), torch.tensor([[0, 3]] * 3)
    share = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    given = prior.head(prior.states_at(tokens, places, label))
    free = prior.head(prior.states_at(tokens, places, torch.full((3,), -1)))
    for ramp, scale in ((True, [1, 2, 3]), (False, [3, 3, 3])):
        logits = prior._guided(label, None, Settings(guidance=3.0, ramp=ramp))(tokens, places, share)
        expected = free + torch.tensor(scale)[:, None, None] * (given - free)
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


@given(
    known=st.lists(st.lists(st.integers(-1, K - 1), min_size=12, max_size=12), min_size=1, max_size=3),
    order=st.sampled_from(["halton", "confidence", "random", "first-hitting"]),
    how=st.sampled_from([{}, {"remask": 0.3}, {"guidance": 2.0}, {"steps": 2, "temperature": 0.5}]),
)
@settings(max_examples=20, deadline=None)
def test_filling_keeps_what_is_known(known: list[list[int]], order: Any, how: dict[str, Any]) -> None:
    prior, given_codes = FILLER, torch.tensor(known).view(-1, 2, 3, 2)
    label, numbers = torch.arange(len(known)) - 1, range(len(known))
    filled = prior.infill(0, numbers, label, Settings(order=order, **how), given_codes)
    assert filled.shape == given_codes.shape
    assert torch.equal(filled[given_codes >= 0], given_codes[given_codes >= 0])
    assert 0 <= int(filled.min()) <= int(filled.max()) < K
    nothing = torch.full_like(given_codes, -1)
    chosen = Settings(order=order, **how)
    assert torch.equal(prior.infill(0, numbers, label, chosen, nothing), prior.draw(0, numbers, label, chosen))


FILLER = build(2)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (torch.zeros(4, 1, 2, 3, dtype=torch.int64), "of shape 1x3x2 a sample"),
        (torch.full((4, 1, 3, 2), K), "from 0 to 4"),
        (torch.full((4, 1, 3, 2), -2), "-1 where unknown"),
        (torch.zeros(4, 1, 3, 2), "whole numbers"),
    ],
)
def test_what_cannot_be_kept_is_refused(known: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build().infill(0, range(4), ANY, Settings(), known)


def test_another_grid_and_a_continuous_latent_are_refused() -> None:
    with pytest.raises(UsageError, match="the masked prior knows grids of 3x2 codes only"):
        build().draw(0, range(4), ANY, Settings(), (4, 4))
    with pytest.raises(UsageError, match="prior=mixture or bottleneck=vq"):
        Config().build(LatentSpec((4, 3, 2)), 0)


@pytest.mark.parametrize("loss", ["diffusion", "maskgit"])
def test_it_learns_a_chain_and_fills_it_from_its_end(loss: str) -> None:
    """Each code is the one before it plus one."""
    prior = build(grid=(4,), classes=0, awake=False, loss=loss, width=32).train()
    optimiser = torch.optim.AdamW(prior.parameters(), lr=1e-2, betas=(0.9, 0.95))
    generator, steps = torch.Generator().manual_seed(0), 170
    torch.manual_seed(0)

    def chains(first: Tensor) -> Tensor:
        return ((first[:, None] + torch.arange(4)) % K)[:, None]

    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / steps)
        x = chains(torch.randint(0, K, (64,), generator=generator))
        term = prior.terms(whole(x), NONE)["nats"]
        optimiser.zero_grad()
        term.backward()
        optimiser.step()
    prior.eval()
    nats = prior.nats(whole(x), NONE, 0, range(64))
    assert nats.mean().item() == pytest.approx(math.log(K), abs=0.3)
    drawn = prior.draw(0, range(64), NONE, Settings(steps=4))
    assert (drawn == chains(drawn[:, 0, 0])).float().mean() > 0.9
    known = torch.full((64, 1, 4), -1)
    known[:, 0, 3] = 3
    filled = prior.infill(0, range(64), NONE, Settings(steps=2), known)
    assert (filled == torch.arange(4)).float().mean() > 0.9
