"""Rounds of accumulation, weights, seeds."""

from __future__ import annotations

import contextlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import Points, Toy, batches

from vitrail.errors import UsageError
from vitrail.training.gradient import backward, cut, onto, read, seed_part
from vitrail.training.weights import weigh


@pytest.mark.parametrize("rounds", [1, 2, 3, 5, 8, 20])
def test_cutting_a_batch_leaves_gradient_and_numbers_as_they_are(rounds: int) -> None:
    batch = next(batches(0))
    whole, parts = Toy(), Toy()
    numbers = read(backward(whole, batch, 1, {"mse": 2.0}, contextlib.nullcontext))
    others = read(backward(parts, batch, rounds, {"mse": 2.0}, contextlib.nullcontext))
    assert others == pytest.approx(numbers, rel=1e-5)
    assert numbers["loss"] == pytest.approx(2 * numbers["terms.mse"] + numbers["terms.small"])
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@given(st.integers(1, 40), st.integers(1, 12))
def test_every_sample_is_in_one_round(samples: int, rounds: int) -> None:
    batch = Points(torch.arange(samples), torch.zeros(samples, 1))
    parts = list(cut(batch, rounds))
    assert torch.cat([part.x for part, _, _ in parts]).tolist() == list(range(samples))
    assert sum(share for _, share, _ in parts) == pytest.approx(1)
    assert [last for _, _, last in parts] == [False] * (len(parts) - 1) + [True]


def test_weights_default_to_1_and_must_name_terms() -> None:
    terms = {"mse": torch.tensor([1.0, 3.0]), "kl": torch.tensor(5.0)}
    assert weigh(terms, {"kl": 0.1}).item() == pytest.approx(2.5)
    assert weigh(terms, {"mse": 0.0}).item() == 5
    with pytest.raises(UsageError, match="weights name klx, but the terms are kl, mse"):
        weigh(terms, {"klx": 1.0})


def test_a_seed_belongs_to_its_step() -> None:
    draws = {}
    for key in [(0, "codec", 0, 0), (0, "codec", 1, 0), (0, "codec", 0, 1), (0, "prior", 0, 0), (1, "codec", 0, 0)]:
        seed_part(*key, torch.device("cpu"))
        draws[key] = torch.rand(1).item()
        seed_part(*key, torch.device("cpu"))
        assert torch.rand(1).item() == draws[key]
    assert len(set(draws.values())) == len(draws)


def test_a_batch_on_the_cpu_is_not_copied() -> None:
    batch = next(batches(0))
    assert onto(torch.device("cpu"), batch) is batch
    moved = onto(torch.device("meta"), batch)
    assert moved.x.device.type == "meta"
