"""Labels: every form of them, and those that cannot be."""

from typing import Any

import numpy as np
import pytest
import torch

from vitrail.errors import UsageError
from vitrail.model.labels import indices

NAMES = ("ant", "bee", "cat")


@pytest.mark.parametrize(
    "form",
    [
        2,
        "cat",
        "2",
        [2, "cat", "2"],
        (2, 2, 2),
        np.int64(2),
        np.array([2, 2, 2]),
        torch.tensor([2, 2, 2]),
        torch.tensor(2),
    ],
)
def test_labels_in_every_form(form: Any) -> None:
    assert torch.equal(indices(form, range(3), NAMES), torch.tensor([2, 2, 2]))


def test_classes_take_turns_by_the_numbers_of_samples() -> None:
    assert indices(None, range(1, 6), NAMES).tolist() == [1, 2, 0, 1, 2]
    assert indices(None, range(2), NAMES, told=True).tolist() == [-1, -1]
    assert indices(-1, range(2), NAMES).tolist() == [-1, -1]


@pytest.mark.parametrize("label", ["ct", 3, -2, "-2", "--1", "\u00b2", [1.5, 1.5], "", "-"])
def test_unknown_labels(label: Any) -> None:
    with pytest.raises(UsageError, match="unknown class"):
        indices(label, range(2), NAMES)


def test_a_misspelt_class_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown class 'ct'; did you mean 'cat'\? \(there is: ant, bee, cat\)"):
        indices("ct", range(1), NAMES)


def test_as_many_labels_as_samples() -> None:
    with pytest.raises(UsageError, match="got 2 labels for 3 samples"):
        indices([0, 1], range(3), NAMES)


def test_without_classes_there_is_no_label_but_any() -> None:
    assert indices(None, range(3), ()).tolist() == indices(-1, range(3), ()).tolist() == [-1, -1, -1]
    with pytest.raises(UsageError, match="knows no classes"):
        indices(0, range(1), ())
