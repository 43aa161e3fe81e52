"""Drawing tokens: frequencies, truncation, rounding."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from vitrail.samplers import noise
from vitrail.samplers.discrete.autoregressive import draw, guided, sample, truncated


def double(values: list[Any]) -> Tensor:
    """Without a detour over float32."""
    return torch.tensor(values, dtype=torch.float64)


def constant(logits: Tensor) -> Callable[[Tensor | None], Tensor]:
    return lambda token: logits


def kept(logits: Tensor, **how: Any) -> list[set[int]]:
    """Which tokens of each row can still be drawn."""
    settings = {"temperature": 1.0, "top_k": None, "top_p": None, **how}
    return [set(row.nonzero().flatten().tolist()) for row in truncated(logits.double(), **settings)]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_those_of_the_softmax(temperature: float) -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5])
    tokens = sample(constant(logits.expand(20_000, 5)), noise.uniform(0, range(20_000), (1,)), temperature=temperature)
    expected = (logits.double() / temperature).softmax(0) * 20_000
    assert chisquare(tokens.flatten().bincount(minlength=5), expected).pvalue > 0.01


def test_frequencies_of_a_chain_follow_its_transitions() -> None:
    transitions = torch.tensor([[0.1, 0.9, 0.0], [0.5, 0.0, 0.5], [0.2, 0.2, 0.6]])
    first = torch.tensor([0.5, 0.25, 0.25])

    def step(token: Tensor | None) -> Tensor:
        return first.log().expand(5000, 3) if token is None else transitions[token].log()

    tokens = sample(step, noise.uniform(1, range(5000), (4,)))
    assert tokens.shape == (5000, 4)
    assert chisquare(tokens[:, 0].bincount(minlength=3), 5000 * first.double()).pvalue > 0.01
    for state in range(3):
        following = tokens[:, 1:][tokens[:, :-1] == state].bincount(minlength=3)
        possible = transitions[state] > 0
        expected = transitions[state, possible].double() / transitions[state].double().sum() * following.sum()
        assert following[~possible].sum() == 0
        assert chisquare(following[possible], expected, sum_check=False).pvalue > 0.001


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.randn(50, 20)
    tokens = sample(constant(logits), noise.uniform(0, range(50), (3,)), temperature=0)
    assert torch.equal(tokens, logits.argmax(1, keepdim=True).expand(-1, 3))


@pytest.mark.parametrize("top_k", [1, 2, 5, 20, 99])
def test_top_k_keeps_the_k_likeliest(top_k: int) -> None:
    logits = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
    expected = [set(row.argsort(descending=True)[:top_k].tolist()) for row in logits]
    assert kept(logits, top_k=top_k) == expected
    chosen = truncated(logits.double(), 1.0, top_k, None)
    torch.testing.assert_close(chosen.sum(1), torch.ones(30).double())


@settings(max_examples=100, deadline=None)
@given(
    weights=st.lists(st.integers(1, 10_000), min_size=1, max_size=12, unique=True),
    top_p=st.floats(0.001, 1.0),
    temperature=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_top_p_keeps_the_smallest_set_that_reaches_it(weights: list[int], top_p: float, temperature: float) -> None:
    logits = double([weights]).log()
    probabilities = (logits[0] / temperature).softmax(0).tolist()
    reached, expected = 0.0, set()
    for token in sorted(range(len(weights)), key=lambda token: -probabilities[token]):
        if reached >= top_p - 1e-12 and abs(reached - top_p) > 1e-9:
            break
        if abs(reached - top_p) <= 1e-9:
            return  # rounding decides
        expected.add(token)
        reached += probabilities[token]
    assert kept(logits, top_p=top_p, temperature=temperature) == [expected]


def test_top_k_comes_before_top_p() -> None:
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    assert kept(logits, top_k=2, top_p=0.5) == [{0}]  # 0.4 / 0.7 reaches 0.5 alone
    assert kept(logits, top_p=0.5) == [{0, 1}]


@pytest.mark.parametrize("uniform", [0.0, 5e-324, 0.25, 0.5, 0.999, 1 - 2**-53])
def test_an_impossible_token_is_never_drawn(uniform: float) -> None:
    weights = double([[0.0, 0, 0.1, 0, 0.2, 0], [0, 1e-30, 0, 0, 0, 0], [0.3, 0.3, 0.3, 0, 0, 0]])
    tokens = draw(weights, double([uniform] * 3))
    assert (weights.gather(1, tokens[:, None]) > 0).all()


@settings(max_examples=200, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 1e-300, 1e-17, 0.1, 1 / 3, 1.0, 7.0]), min_size=1, max_size=9).filter(any),
    uniform=st.one_of(st.floats(0, 1, exclude_max=True), st.just(1 - 2**-53)),
)
def test_a_drawn_token_is_possible_and_the_right_one(weights: list[float], uniform: float) -> None:
    token = int(draw(double([weights]), double([uniform])))
    assert weights[token] > 0
    total = sum(weights)
    assert sum(weights[:token]) <= uniform * total * (1 + 1e-12) + 1e-300
    assert uniform * total <= sum(weights[: token + 1]) * (1 + 1e-12)


def test_draws_resolve_what_float32_cannot() -> None:
    """A token of probability 1e-9 has its place at the end of the unit interval, where float32 sees nothing."""
    weights = double([[1 - 1e-9, 1e-9]])
    assert draw(weights, double([1 - 2e-9])).item() == 0
    assert draw(weights, double([1 - 5e-10])).item() == 1


def test_a_row_depends_on_its_own_noise_only() -> None:
    logits, uniform = torch.randn(1, 9), noise.uniform(0, range(6), (4,))
    whole = sample(constant(logits.expand(6, 9)), uniform)
    assert torch.equal(sample(constant(logits.expand(2, 9)), uniform[[4, 1]]), whole[[4, 1]])


def test_guidance_is_the_formula() -> None:
    with_class, without = torch.randn(3, 5), torch.randn(3, 5)
    stacked = torch.cat([with_class, without])
    torch.testing.assert_close(guided(stacked, 1.0), with_class)
    torch.testing.assert_close(guided(stacked, 0.0), without)
    torch.testing.assert_close(guided(stacked, 3.0), 3 * with_class - 2 * without)
