import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from vitrail.errors import UsageError
from vitrail.metrics.codebook import count, histogram, neighbour_distances, outermost, position_bits, usage


def test_counts_equal_numpy_and_add_up_over_batches() -> None:
    codes = torch.randint(0, 16, (6, 3, 5, 4), generator=torch.Generator().manual_seed(0))
    counts = count(codes, 16)
    expected = [np.bincount(codes[:, level].flatten().numpy(), minlength=16) for level in range(3)]
    np.testing.assert_array_equal(counts.numpy(), np.stack(expected))
    assert torch.equal(count(codes[:2], 16) + count(codes[2:], 16), counts)


def test_entropy_agrees_with_scipy() -> None:
    counts = torch.randint(0, 50, (2, 64), generator=torch.Generator().manual_seed(1))
    bits = np.mean([entropy(level.numpy(), base=2) for level in counts])
    use = usage(counts)
    assert use.bits == pytest.approx(bits, abs=1e-12)
    assert use.perplexity == pytest.approx(2**bits)


def test_an_even_codebook_is_full() -> None:
    use = usage(torch.full((1, 512), 7))
    assert (use.usage, use.bits) == (1.0, pytest.approx(9.0))
    assert use.perplexity == pytest.approx(512)


def test_a_collapsed_codebook_carries_nothing() -> None:
    use = usage(torch.tensor([[0, 9, 0, 0]]))
    assert (use.usage, use.bits, use.perplexity) == (0.25, 0.0, 1.0)


def test_codes_without_space() -> None:
    assert count(torch.tensor([[1], [1], [0]]), 3).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("code", [-1, 4])
def test_codes_out_of_range_are_refused(code: int) -> None:
    with pytest.raises(UsageError, match=r"0\.\.3"):
        count(torch.tensor([[[0, code]]]), 4)


def test_a_level_without_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="some tokens in every level"):
        usage(torch.tensor([[1, 2], [0, 0]]))


def test_two_even_codes_are_one_bit() -> None:
    assert math.isclose(usage(torch.tensor([[5, 5, 0, 0]])).bits, 1.0)


def test_dead_codes_are_those_that_never_occur() -> None:
    assert usage(torch.tensor([[0, 9, 0, 1], [1, 1, 1, 0]])).dead == 3


def test_histogram_is_sorted_and_sums_to_one() -> None:
    shares = histogram(torch.tensor([[1, 6, 3], [5, 0, 5]]))
    torch.testing.assert_close(shares, torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.5, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("keys", [1 << 22, 100])
def test_bits_of_each_position_agree_with_scipy(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrail.metrics.codebook.KEYS", keys)
    codes = torch.randint(0, 40, (37, 2, 3, 5), generator=torch.Generator().manual_seed(2))
    codes[:, 1, 0, 0] = 7
    bits = position_bits(codes.to(torch.uint8), 40)
    assert bits.shape == (2, 3, 5)
    assert bits[1, 0, 0] == 0
    for place in np.ndindex(2, 3, 5):
        often = np.unique(codes[(slice(None), *place)].numpy(), return_counts=True)[1]
        assert float(bits[place]) == pytest.approx(entropy(often, base=2), abs=1e-12)


def test_bits_of_codes_without_space() -> None:
    assert position_bits(torch.tensor([[0], [1], [0], [1]]), 2).tolist() == [1.0]


def test_neighbour_distances_agree_with_scikit_learn() -> None:
    from sklearn.neighbors import NearestNeighbors

    codebook = 5 + torch.randn(300, 6, generator=torch.Generator().manual_seed(3))
    codebook[10] = codebook[20]
    points = codebook.double().numpy()
    radius = np.sqrt(np.square(points - points.mean(0)).sum(1).mean())
    expected = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points)[0][:, 1] / radius
    found = neighbour_distances(codebook)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert found[10] == found[20] == 0


def test_of_a_large_codebook_some_codes_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    codebook = torch.randn(200, 4, generator=torch.Generator().manual_seed(4))
    every = neighbour_distances(codebook)
    monkeypatch.setattr("vitrail.metrics.codebook.ALL_OF", 100)
    monkeypatch.setattr("vitrail.metrics.codebook.SOME_OF", 50)
    torch.testing.assert_close(neighbour_distances(codebook), every[::4])


@pytest.mark.parametrize(("codebook", "expected"), [(torch.ones(1, 3), []), (torch.ones(3, 2), [0.0, 0.0, 0.0])])
def test_neighbours_where_there_are_none_or_all_are_one(codebook: torch.Tensor, expected: list[float]) -> None:
    assert neighbour_distances(codebook).tolist() == expected


def test_outermost_values_of_a_lattice() -> None:
    lattice = torch.cartesian_prod(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([-1.0, 1.0]))
    assert outermost(lattice, torch.tensor([1, 1, 1, 1, 1, 1])) == pytest.approx(
        2 / 3
    )  # the axis of two does not count
    assert outermost(lattice, torch.tensor([0, 0, 3, 1, 0, 0])) == 0
    assert outermost(torch.randn(6, 2), torch.ones(6)) is None
    assert outermost(torch.cartesian_prod(*2 * [torch.tensor([-1.0, 1.0])]), torch.ones(4)) is None
