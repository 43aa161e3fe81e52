from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitrail.metrics import jackknife
from vitrail.metrics.frechet import frechet, frechet_left_out
from vitrail.metrics.jackknife import FOLDS, folds, interval, left_out
from vitrail.metrics.kid import mmd_left_out, squared_mmd
from vitrail.metrics.prdc import prdc, prdc_left_out
from vitrail.metrics.protocol import bootstrap


def _features(n: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(n, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_parts_are_of_equal_size_and_random() -> None:
    part = folds(205)
    counts = torch.bincount(part, minlength=FOLDS)
    assert (int(counts.min()), int(counts.max())) == (10, 11)
    assert torch.equal(part, folds(205))
    classes = torch.arange(205) % FOLDS  # samples whose classes come in turn
    assert all(len(classes[part == fold].unique()) > 3 for fold in range(FOLDS))


REAL, FAKE = _features(130, 0), _features(90, 1, 0.4, 1.3)


def test_distances_without_a_part_are_those_of_the_rest() -> None:
    torch.testing.assert_close(frechet_left_out(REAL, FAKE), left_out(frechet, REAL, FAKE), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mmd_left_out(REAL, FAKE), left_out(squared_mmd, REAL, FAKE), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 0.3), (0.0, 2.0), (50.0, 1.0)])
def test_neighbours_without_a_part_are_those_of_the_rest(
    shift: float, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrail.metrics.prdc.CHUNK", 50)
    fake = _features(90, 1, shift, scale)
    found = prdc_left_out(REAL, fake, neighbours=3)
    for name, values in found.items():
        expected = left_out(lambda a, b, name=name: getattr(prdc(a, b, neighbours=3), name), REAL, fake)
        torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)


def test_the_interval_of_a_mean_is_the_known_one() -> None:
    values = _features(4000, 2).flatten()
    low, high = interval(float(values.mean()), left_out(lambda rows: float(rows.mean()), values)) or (0, 0)
    error = float(values.std()) / len(values) ** 0.5
    assert (high - low) / 2 == pytest.approx(2.09 * error, rel=0.35)  # the error itself is known to some 16 %


def test_the_interval_of_a_distance_covers_its_expectation() -> None:
    pairs = [(_features(80, 100 + i), _features(80, 500 + i, 0.2)) for i in range(80)]
    values = [frechet(*pair) for pair in pairs]
    expected = sum(values) / len(values)  # of sets of this size, bias included
    inside = 0
    for value, pair in zip(values, pairs, strict=True):
        low, high = interval(value, frechet_left_out(*pair), least=0.0) or (0, 0)
        inside += low <= expected <= high
    assert inside / len(pairs) >= 0.88


def test_the_bootstrap_would_miss_the_distance_itself() -> None:
    pairs = torch.randn(4, 80, 2, 20, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def of_both(rows: Tensor) -> float:
        return frechet(rows[:, 0], rows[:, 1])

    assert all(of_both(pair) < bootstrap(pair, of_both, rounds=50)[0] for pair in pairs)


def test_an_interval_stays_within_the_range_and_may_be_none() -> None:
    without = torch.linspace(0.9, 1.0, FOLDS)
    assert interval(0.98, without, 0.0, 1.0) == (pytest.approx(0.98 - (interval(0, without) or (0, 0))[1]), 1.0)
    assert interval(0.98, torch.full((FOLDS,), torch.nan)) is None
    assert jackknife.enough(40, 100)
    assert not jackknife.enough(39, 100)
