"""Drawing several tokens at a time: what it leaves of the distribution, what it keeps, in which order it goes."""

from itertools import pairwise, product
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor

from vitrail.samplers import noise
from vitrail.samplers.discrete.masked import Logits, gumbel, halton, noise_shape, revealed, sample

K, T, COUNT = 2, 3, 12_000
ORDERS = ["confidence", "random", "first-hitting", "shuffled", "halton"]
EVERY = torch.tensor(list(product(range(K), repeat=T)))
JOINT = torch.tensor([0.30, 0.02, 0.03, 0.15, 0.05, 0.20, 0.24, 0.01], dtype=torch.float64)  # of the rows of EVERY


def oracle(joint: Tensor) -> Logits:
    """The exact distribution of every token given those that are known."""

    def logits(tokens: Tensor, places: Tensor, share: Tensor) -> Tensor:
        possible = ((tokens[:, None] == EVERY) | (tokens[:, None] < 0)).all(-1)  # (B, K^T)
        chances = torch.einsum("bs,stk->btk", possible * joint, torch.nn.functional.one_hot(EVERY, K).double())
        return chances.log().gather(1, places.unsqueeze(-1).expand(-1, -1, K))

    return logits


def order(name: str, grid: tuple[int, ...] = (T,)) -> Any:
    return halton(grid) if name == "halton" else name


def drawn(joint: Tensor, name: str, steps: int, count: int = COUNT, known: Tensor | None = None, **how: Any) -> Tensor:
    tokens = torch.full((count, T), -1) if known is None else known
    shape = noise_shape(order(name), steps, T, how.get("remask", 0))
    return sample(
        oracle(joint), tokens, noise.uniform(5, range(len(tokens)), shape), order=order(name), steps=steps, **how
    )


def agreement(joint: Tensor, tokens: Tensor) -> float:
    """The probability of counts as far off or farther, if the joint were the tokens' distribution."""
    rows = (tokens * torch.tensor([4, 2, 1])).sum(1)
    return float(chisquare(rows.bincount(minlength=K**T), joint * len(tokens)).pvalue)


@pytest.mark.parametrize("remask", [0.0, 0.3])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("name", ["random", "first-hitting", "shuffled", "halton"])
def test_independent_tokens_come_out_right_however_many_at_once(name: str, steps: int, remask: float) -> None:
    ones = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    joint = (EVERY * ones + (1 - EVERY) * (1 - ones)).prod(1)
    assert agreement(joint, drawn(joint, name, steps, remask=remask)) > 0.001


@pytest.mark.parametrize(("name", "steps"), [("first-hitting", 1), ("shuffled", T), ("halton", T), ("random", 60)])
def test_one_token_at_a_time_gives_the_joint(name: str, steps: int) -> None:
    assert agreement(JOINT, drawn(JOINT, name, steps)) > 0.01


@pytest.mark.parametrize("name", ["random", "shuffled", "halton"])
def test_a_single_step_does_not(name: str) -> None:
    assert agreement(JOINT, drawn(JOINT, name, 1)) < 1e-9


def test_given_a_token_the_rest_follows_its_conditional() -> None:
    known = torch.tensor([[-1, 1, -1]]).expand(COUNT, T)
    conditional = JOINT * (EVERY[:, 1] == 1)
    tokens = drawn(JOINT, "first-hitting", 1, known=known)
    assert bool((tokens[:, 1] == 1).all())
    possible = conditional > 0
    counts = (tokens * torch.tensor([4, 2, 1])).sum(1).bincount(minlength=K**T)[possible]
    assert chisquare(counts, COUNT * conditional[possible] / conditional.sum()).pvalue > 0.01


@given(
    known=st.lists(st.lists(st.integers(-1, 6), min_size=6, max_size=6), min_size=1, max_size=4),
    name=st.sampled_from(ORDERS),
    steps=st.integers(1, 9),
    remask=st.sampled_from([0.0, 0.4]),
)
@settings(max_examples=60, deadline=None)
def test_known_tokens_stay_and_rows_do_not_meddle(known: list[list[int]], name: str, steps: int, remask: float) -> None:
    tokens, table = torch.tensor(known), torch.randn(6, 7, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []

    def logits(tokens: Tensor, places: Tensor, share: Tensor) -> Tensor:
        seen.append(share)
        return table[places] + tokens.double().sum(1)[:, None, None].sin() * torch.arange(7)

    how = {"order": order(name, (2, 3)), "steps": steps, "remask": remask, "spread": 2.0}
    uniform = noise.uniform(1, range(len(tokens)), noise_shape(how["order"], steps, 6, remask))
    filled = sample(logits, tokens, uniform, **how)
    assert len(seen) <= (6 if name == "first-hitting" else steps)
    assert all(bool(((share >= 0) & (share <= 1)).all()) for share in seen)
    assert bool((filled >= 0).all())
    assert torch.equal(filled[tokens >= 0], tokens[tokens >= 0])
    for row in range(len(tokens)):
        assert torch.equal(sample(logits, tokens[[row]], uniform[[row]], **how), filled[[row]])


@pytest.mark.parametrize("steps", [1, 2, 7, 12, 49, 80])
def test_revealed_tokens_rise_to_all_of_them(steps: int) -> None:
    count = torch.tensor([0, 1, 2, 10, 49])
    known = revealed(count, steps)
    assert torch.equal(known[:, -1], count)
    new = known.diff(dim=1, prepend=torch.zeros(5, 1, dtype=torch.int64))
    assert bool((new >= 0).all())
    assert bool(((new > 0) | (known >= count[:, None])).all())  # no idle step before the end
    if steps == 12:
        assert new[4].argmax() > 6  # few first


@given(grid=st.lists(st.integers(1, 9), min_size=0, max_size=3).map(tuple), levels=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_halton_is_a_permutation_coarse_levels_first(grid: tuple[int, ...], levels: int) -> None:
    places = halton(grid, levels)
    assert places.sort().values.tolist() == list(range(prod(grid) * levels))
    assert (places % levels).tolist() == sorted(list(range(levels)) * prod(grid))


def test_halton_spreads_over_the_grid() -> None:
    """The first quarter of an 8x8 grid meets each of its 16 squares of 2x2 nearly as often."""
    places = halton((8, 8))[:32]
    squares = (places // 16) * 4 + places % 8 // 2
    assert int(squares.bincount(minlength=16).min()) >= 1
    assert int(squares.bincount(minlength=16).max()) <= 3


def test_the_surest_come_first() -> None:
    sure = torch.tensor([[0.0, 5.0], [0.0, 1.0], [0.0, 9.0], [0.0, 3.0]])
    known: list[Tensor] = []

    def logits(tokens: Tensor, places: Tensor, share: Tensor) -> Tensor:
        known.append(tokens[0] >= 0)
        return sure[places]

    uniform = torch.full((1, *noise_shape("confidence", 4, 4)), 0.9)
    sample(logits, torch.full((1, 4), -1), uniform, order="confidence", steps=4, temperature=0.7)
    came = [int((after & ~before).nonzero()) for before, after in pairwise(known)]
    assert came == [2, 0, 3]


def test_gumbel_numbers_are_finite_and_gumbel() -> None:
    assert bool(gumbel(torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)).isfinite().all())
    many = gumbel(noise.uniform(0, [0], (100_000,)))
    assert many.mean().item() == pytest.approx(0.5772, abs=0.02)
