from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.metrics import copies as module
from vitrail.metrics.copies import copies, nearest


def _features(n: int, seed: int) -> Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed)) + 100.0  # a far origin


TRAINING, UNSEEN = _features(600, 0), _features(2000, 1)


@pytest.mark.parametrize("cells", [1 << 24, 2000])
def test_the_nearest_is_that_of_all_distances(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CELLS", cells)
    found = nearest(UNSEEN, TRAINING, neighbours=20)
    distance = torch.cdist(UNSEEN.double(), TRAINING.double())
    assert torch.equal(found.index, distance.argmin(1))
    near = distance.sort(1).values
    torch.testing.assert_close(found.closeness, near[:, 0] / near[:, :20].mean(1), rtol=1e-6, atol=1e-9)


def test_new_samples_are_no_copies_and_copies_are_found() -> None:
    heldout = nearest(UNSEEN, TRAINING)
    new = copies(heldout, nearest(_features(800, 2), TRAINING))
    assert new.rate < 0.03
    assert new.interval is not None
    assert new.interval[0] <= new.expected <= new.interval[1] + 0.01
    mixed = torch.cat([_features(750, 3), TRAINING[40:90] + 1e-3])
    some = copies(heldout, nearest(mixed, TRAINING))
    assert some.rate == pytest.approx(50 / 800, abs=0.02)
    assert set(some.closest[:50].tolist()) == set(range(750, 800))
    assert sorted(some.index[:50].tolist()) == list(range(40, 90))


def test_an_exact_copy_is_at_distance_zero() -> None:
    assert nearest(TRAINING[7:9], TRAINING).closeness.tolist() == [0.0, 0.0]
    doubled = TRAINING[:2].repeat(30, 1)  # all neighbours are the same picture
    assert nearest(TRAINING[:1], doubled[::2], neighbours=5).closeness.tolist() == [0.0]


def test_samples_from_dense_regions_are_no_copies() -> None:
    """A model that draws the ordinary is nearer to its training pictures than unseen ones are, but not to one of them."""
    dull = 100 + 0.4 * (_features(800, 4) - 100)
    assert copies(nearest(UNSEEN, TRAINING), nearest(dull, TRAINING)).rate < 0.05


def test_what_is_refused() -> None:
    few = nearest(UNSEEN[:50], TRAINING)
    with pytest.raises(UsageError, match="among 50 unseen pictures"):
        copies(few, few)
    with pytest.raises(UsageError, match="one width"):
        nearest(UNSEEN[:, :3], TRAINING)
