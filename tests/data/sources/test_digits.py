"""The bundled digits."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_parts


def test_parts_are_disjoint_stratified_and_complete() -> None:
    train, heldout = open_parts("digits", DataConfig())
    assert not set(train.keys) & set(heldout.keys)
    assert len(train) + len(heldout) == 1797
    shares = np.bincount(heldout.labels) / (np.bincount(heldout.labels) + np.bincount(train.labels))
    assert np.abs(shares - 0.2).max() < 0.01
    assert train.spec.classes == tuple("0123456789")


def test_values_are_scaled_to_all_eight_bits() -> None:
    train, _ = open_parts("digits", DataConfig())
    i = 100
    known = load_digits().images[int(train.keys[i])]
    assert np.array_equal(train.images([i])[0, 0].numpy(), np.rint(known * 255 / 16))
    assert train.pixels is not None
    assert (int(train.pixels.min()), int(train.pixels.max())) == (0, 255)
