from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest
import torch
from scipy.stats import betabinom, binomtest
from torch import Tensor

from vitrail.errors import DataError, UsageError
from vitrail.metrics import copies as module
from vitrail.metrics.copies import Copies, Nearest, copies, interval_of_share, nearest, tail


def _values(n: int, seed: int) -> Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed)) + 100.0  # a far origin


TRAINING, UNSEEN = _values(600, 0), _values(2000, 1)


def others(training: Tensor) -> Nearest:
    """Of each training picture the nearest other one."""
    return nearest(training, training, own=torch.arange(len(training)))


def judged(samples: Tensor, training: Tensor = TRAINING, heldout: Tensor = UNSEEN) -> Copies:
    return copies(others(training), nearest(heldout, training), nearest(samples, training))


@pytest.mark.parametrize("cells", [1 << 24, 2000])
def test_the_nearest_is_that_of_all_distances(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CELLS", cells)
    found = nearest(UNSEEN, TRAINING, neighbours=20)
    distance = torch.cdist(UNSEEN.double(), TRAINING.double())
    assert torch.equal(found.index, distance.argmin(1))
    near = distance.sort(1).values
    torch.testing.assert_close(found.distance.double(), near[:, 0] / 8**0.5, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.closeness.double(), near[:, 0] / near[:, :20].mean(1), rtol=1e-4, atol=1e-6)


def test_a_training_picture_is_not_its_own_neighbour() -> None:
    rows = torch.tensor([5, 77])
    found = nearest(TRAINING[rows], TRAINING, own=rows)
    distance = torch.cdist(TRAINING[rows].double(), TRAINING.double()).scatter(1, rows[:, None], torch.inf)
    assert torch.equal(found.index, distance.argmin(1))


def test_of_several_forms_the_nearest_counts() -> None:
    turned = -TRAINING
    assert nearest(turned[7:9], (TRAINING, turned)).distance.tolist() == [0.0, 0.0]
    assert nearest(turned[7:9], (TRAINING, turned)).index.tolist() == [7, 8]

    def lifted(values: Tensor, places: Tensor) -> Tensor:
        return (TRAINING[places] + 0.25 - values[:, None]).norm(dim=2)

    assert nearest(TRAINING[3:5] + 0.25, TRAINING, refine=lifted).distance.tolist() == [0.0, 0.0]
    assert float(nearest(TRAINING[3:5] + 0.25, TRAINING).distance.min()) > 0.1


def test_a_copier_has_all_and_fresh_samples_have_the_share_of_unseen_pictures() -> None:
    copier = judged(TRAINING[100:300] + 1e-3)
    assert copier.samples.value == 1.0
    assert copier.evident
    fresh = judged(_values(800, 2))
    assert not fresh.evident
    assert fresh.samples.value == pytest.approx(fresh.expected, abs=0.015)
    assert fresh.heldout.value == pytest.approx(fresh.expected, abs=0.01)
    assert fresh.median == pytest.approx(fresh.median_heldout, rel=0.05)


def test_a_part_that_copies_is_found_and_named() -> None:
    some = judged(torch.cat([_values(750, 3), TRAINING[40:90] + 1e-3]))
    assert some.samples.value == pytest.approx(50 / 800, abs=0.02)
    assert set(some.closest[:50].tolist()) == set(range(750, 800))
    assert sorted(some.nearest.index[some.closest[:50]].tolist()) == list(range(40, 90))


@pytest.mark.parametrize("size", [10, 50, 100, 250])
def test_small_training_sets_expect_what_comes_of_unseen_pictures(size: int) -> None:
    """k / (M + 1), with 10 held-out pictures that no quantile of 1 % could be read from."""
    found = [
        judged(_values(20, 3 * seed), _values(size, 3 * seed + 1), _values(10, 3 * seed + 2)) for seed in range(200)
    ]
    expected = 2 / (size + 1)
    assert {round(each.expected, 6) for each in found} == {round(expected, 6)}
    error = (expected / 4000) ** 0.5  # of a share over 4000 samples, were they independent
    assert fmean(each.samples.value for each in found) == pytest.approx(expected, abs=max(0.25 * expected, 4 * error))
    assert sum(each.evident for each in found) <= 2  # of 200


def test_the_closest_pair_is_joined_by_a_fresh_picture_in_two_of_all_places() -> None:
    """A closed form: of M + 1 pictures the closest two hold the fresh one with probability 2 / (M + 1), and just then it lies below
    the distance of the closest pair of the others."""
    rounds, size, hits = 4000, 19, 0
    every = torch.rand(rounds, size + 1, 3, generator=torch.Generator().manual_seed(0))
    for training, fresh in zip(every[:, :size], every[:, size:], strict=True):
        by_distance = [replace(each, closeness=each.distance) for each in (others(training), nearest(fresh, training))]
        hits += int(copies(by_distance[0], by_distance[1], by_distance[1]).samples.value)
    assert hits / rounds == pytest.approx(2 / (size + 1), abs=4 * (0.1 * 0.9 / rounds) ** 0.5)


def test_an_exact_copy_is_at_distance_zero() -> None:
    assert nearest(TRAINING[7:9], TRAINING).closeness.tolist() == [0.0, 0.0]
    doubled = TRAINING[:2].repeat(30, 1)  # all neighbours are the same picture
    assert nearest(TRAINING[:1], doubled[::2], neighbours=5).closeness.tolist() == [0.0]


def test_samples_from_dense_regions_are_no_copies() -> None:
    """A model that draws the ordinary is nearer to its training pictures than unseen ones are, but not to one of them."""
    assert judged(100 + 0.4 * (_values(800, 4) - 100)).samples.value < 0.05


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (1, 5), (5, 5), (8, 64), (64, 64), (3, 1000)])
def test_the_interval_of_a_share_is_wilsons(hits: int, n: int) -> None:
    known = binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert interval_of_share(hits, n) == (pytest.approx(known.low, abs=1e-5), pytest.approx(known.high, abs=1e-5))


@pytest.mark.parametrize(
    ("hits", "n", "a", "b"), [(0, 64, 1.0, 50.5), (10, 64, 1.0, 50.5), (3, 5, 2.5, 40.0), (64, 64, 5, 3)]
)
def test_the_probability_of_so_many_is_beta_binomial(hits: int, n: int, a: float, b: float) -> None:
    assert tail(hits, n, a, b) == pytest.approx(float(betabinom(n, a, b).sf(hits - 1)), rel=1e-9)


def test_what_is_evident_is_many_improbable_and_beyond_the_heldout_share() -> None:
    few = copies(others(TRAINING[:100]), nearest(UNSEEN[:5], TRAINING[:100]), nearest(UNSEEN[:64], TRAINING[:100]))

    def with_shares(mine: float, its: float) -> Copies:
        return replace(few, samples=replace(few.samples, value=mine), heldout=replace(few.heldout, value=its))

    assert with_shares(10 / 64, 0.0).evident  # 10 of 64, where 1.3 are expected
    assert not with_shares(6 / 64, 0.0).evident  # comes by chance in 3 of 100 cases
    assert not with_shares(10 / 64, 0.1).evident
    assert not replace(with_shares(0.04, 0.0), samples=replace(few.samples, value=0.04, n=10_000)).evident


def test_what_is_refused() -> None:
    few = nearest(UNSEEN[:5], TRAINING)
    with pytest.raises(UsageError, match="10 training pictures or more, got 5"):
        copies(few, few, few)
    with pytest.raises(UsageError, match="one width"):
        nearest(UNSEEN[:, :3], TRAINING)
    with pytest.raises(DataError, match="not finite"):
        nearest(UNSEEN[:3] / 0.0 * 0.0, TRAINING)
