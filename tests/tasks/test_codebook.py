"""A codebook judged over a data set."""

from __future__ import annotations

import pytest
import torch

from vitrail.data.dataset import Dataset
from vitrail.errors import DataError, UsageError
from vitrail.metrics.codebook import count, usage
from vitrail.model.model import Model
from vitrail.tasks.codebook import codebook


def test_counts_are_those_of_all_pictures(discrete: Model, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr("vitrail.tasks.codebook.BLOCK", 100)
    found = codebook(discrete, digits, limit=150, progress=lambda done, total: told.append((done, total)))
    codes = discrete.encode(digits.images(range(150))).codes
    assert codes is not None
    assert found.levels[0].use == usage(count(codes, 16))
    assert (found.samples, told) == (150, [(100, 150), (150, 150)])


def test_at_most_so_many_codes_are_shown(discrete: Model, digits: Dataset) -> None:
    (level,) = codebook(discrete, digits, most=2).levels
    assert len(level.codes) == len(level.pictures) == 2
    assert level.shares[0] >= level.shares[1]


def test_a_model_without_codes_is_refused(vector: Model, digits: Dataset) -> None:
    with pytest.raises(UsageError, match=r"no codebook: its bottleneck is gaussian"):
        codebook(vector, digits)


def test_data_of_another_kind_is_refused(discrete: Model, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "spec", digits.spec.model_copy(update={"shape": (3, 8, 8)}))
    with pytest.raises(DataError, match="1 channels, the data's have 3"):
        codebook(discrete, digits)
    assert torch.is_tensor(digits.images([0]))
