"""Softmax over all codes in chunks: against the plain formulas, their gradients, attention, and a watch over every tensor made."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from watch import Largest

from vitrail.bottlenecks import _weighing
from vitrail.bottlenecks._weighing import drawn, entropies, indecision, mixed, spread, towards

ROWS, CODES, WIDTH = 23, 10, 3
CHUNKS = (1, CODES, 4 * CODES, 1 << 20)  # scores at a time: one row, one row, four rows, all


def tensors(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (N, A), keys (K, A), values (K, D) in float64, wanting gradients."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((ROWS, WIDTH), (CODES, WIDTH), (CODES, 2))
    first, second, third = (
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes
    )
    return first, second, third


def gradients(result: Tensor, leaves: Iterable[Tensor]) -> tuple[Tensor, ...]:
    weight = torch.randn(result.shape, generator=torch.Generator().manual_seed(7), dtype=result.dtype)
    return torch.autograd.grad((weight * result).sum(), tuple(leaves))


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_mixture_and_its_gradients_are_those_of_the_formula(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_weighing, "CHUNK", chunk)
    queries, keys, values = tensors()
    ours, plain = mixed(queries, keys, values), (queries @ keys.T).softmax(1) @ values
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-12)
    for mine, theirs in zip(
        gradients(ours, (queries, keys, values)), gradients(plain, (queries, keys, values)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-12)


def test_a_mixture_is_attention_to_the_codes() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(count, 8, generator=generator) for count in (200, 50, 50))
    theirs = F.scaled_dot_product_attention(queries[None, None], keys[None, None], values[None, None], scale=1.0)
    torch.testing.assert_close(mixed(queries, keys, values), theirs[0, 0], atol=1e-6, rtol=1e-6)


def _mixture_of_distances(vectors: Tensor, table: Tensor) -> Tensor:
    return mixed(*towards(vectors, table, 0.7), table)


def _relaxed_draw(vectors: Tensor, table: Tensor) -> Tensor:
    torch.manual_seed(3)
    return drawn(vectors, table, table, torch.tensor(0.5))[0]


def _indecision(vectors: Tensor, table: Tensor) -> Tensor:
    return indecision(vectors, table[:1].detach(), table, 0.5, everywhere=False)


@pytest.mark.parametrize("function", [_mixture_of_distances, _relaxed_draw, entropies, _indecision])
def test_gradients_are_those_of_finite_differences(
    function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit that follows the vectors has no gradient by intent, so it is held fixed here."""
    monkeypatch.setattr(_weighing, "CHUNK", 4 * CODES)
    monkeypatch.setattr(_weighing, "spread", lambda *_: 1.3)
    vectors, table, _ = tensors()
    rest = (False,) if function is entropies else ()
    assert torch.autograd.gradcheck(lambda v, e: function(v, e, *rest), (vectors, table))


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_scores_are_distances(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, table = (offset + torch.randn(count, 4, generator=generator) for count in (30, 12))
    queries, keys = towards(vectors, table, 0.5)
    exact = -torch.cdist(vectors.double(), table.double()).square() / 0.5
    torch.testing.assert_close(
        (queries @ keys.T).double().log_softmax(1), exact.log_softmax(1), atol=2e-3 if offset else 1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("chunk", CHUNKS)
def test_entropies_are_those_of_the_formula(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_weighing, "CHUNK", chunk)
    queries, keys, _ = tensors()
    shares = (queries @ keys.T).softmax(1)
    each, together = entropies(queries, keys, everywhere=False)
    torch.testing.assert_close(each, torch.special.entr(shares).sum(1))
    torch.testing.assert_close(together, torch.special.entr(shares.mean(0)).sum())
    plain = torch.special.entr(shares).sum(1).mean() - torch.special.entr(shares.mean(0)).sum()
    for mine, theirs in zip(
        gradients(each.mean() - together, (queries, keys)), gradients(plain, (queries, keys)), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_certainty_is_safe() -> None:
    """Shares that are 0 in float32, in a row and in all rows."""
    queries = torch.tensor([[1e4], [1e4]], requires_grad=True)
    keys = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    each, together = entropies(queries, keys, everywhere=False)
    assert each.tolist() == [0.0, 0.0]
    assert together.item() == pytest.approx(0.0, abs=1e-6)
    (each.sum() - together).backward()
    assert queries.grad.isfinite().all()
    assert keys.grad.isfinite().all()


def test_indecision_is_least_where_sure_vectors_use_all_codes_evenly() -> None:
    table = 10 * torch.eye(8)
    sure_and_even = indecision(table + 0.1, table, table, 0.1, everywhere=False)
    assert float(sure_and_even) == pytest.approx(-math.log(8), abs=1e-4)
    alike = table[:1].expand(8, -1) + 0.1
    assert float(indecision(alike, table[:1].expand(8, -1), table, 0.1, everywhere=False)) == pytest.approx(0, abs=1e-4)


def test_the_unit_of_temperatures_follows_the_scale_of_the_data() -> None:
    vectors, table, _ = (tensor.detach().float() for tensor in tensors())
    values = table[torch.cdist(vectors, table).argmin(1)]
    torch.testing.assert_close(spread(vectors, values, False), (vectors - values).norm(dim=1).square().mean())
    for scale in (1e-2, 1e3):
        unit = 0.5 * spread(scale * vectors, scale * values, False)
        mixture = mixed(*towards(scale * vectors, scale * table, unit), scale * table)
        plain = mixed(*towards(vectors, table, 0.5 * spread(vectors, values, False)), table)
        torch.testing.assert_close(mixture / scale, plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_a_draw_is_that_of_torch_with_the_same_noise(temperature: float) -> None:
    queries, keys, values = tensors()
    torch.manual_seed(5)
    seed = int(torch.randint(1 << 62, (1,)))
    torch.manual_seed(5)
    mixture, winner = drawn(queries, keys, values, torch.tensor(temperature))
    torch.manual_seed(seed)
    theirs = F.gumbel_softmax(queries @ keys.T, tau=temperature)
    torch.testing.assert_close(mixture, theirs @ values)
    assert torch.equal(winner, theirs.argmax(1))
    for mine, expected in zip(
        gradients(mixture, (queries, keys, values)), gradients(theirs @ values, (queries, keys, values)), strict=True
    ):
        torch.testing.assert_close(mine, expected)


def test_codes_are_drawn_with_their_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks have noise of their own."""
    monkeypatch.setattr(_weighing, "CHUNK", 300)
    logits = torch.tensor([0.0, 1.0, 2.0])
    torch.manual_seed(0)
    _, winners = drawn(torch.ones(20_000, 1), logits[:, None], torch.eye(3), torch.tensor(1.0))
    torch.testing.assert_close(torch.bincount(winners) / 20_000, logits.softmax(0), atol=0.015, rtol=0)
    assert not torch.equal(winners[:100], winners[100:200])


def _draw(queries: Tensor, keys: Tensor, table: Tensor) -> Tensor:
    return drawn(queries, keys, table, torch.tensor(0.5))[0]


def _both(queries: Tensor, keys: Tensor, table: Tensor) -> Tensor:
    each, together = entropies(queries, keys, everywhere=False)
    return each.mean() - together


@pytest.mark.parametrize("function", [mixed, _draw, _both])
def test_no_matrix_of_vectors_times_codes_is_made(function: Callable[..., Tensor]) -> None:
    vectors, table = torch.randn(256, 4, requires_grad=True), torch.randn(65_536, 4, requires_grad=True)
    with Largest() as largest:
        function(*towards(vectors, table, 1.0), table).sum().backward()
    assert largest.values == _weighing.CHUNK < 256 * 65_536
    assert vectors.grad.isfinite().all()
    assert table.grad.isfinite().all()
