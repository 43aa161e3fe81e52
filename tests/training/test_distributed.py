"""One process is a group of one; the two-process run is in test_loop."""

from __future__ import annotations

import pytest
from torch import nn

from vitrail.training.distributed import Ranks, current, joined


def test_alone() -> None:
    with joined() as ranks:
        assert ranks == current() == Ranks()
    assert ranks.first
    assert ranks.highest([1.0, 2.0]) == ranks.mean([1.0, 2.0]) == [1.0, 2.0]
    net = nn.Linear(1, 1)
    assert ranks.average_gradients(net) is net


def test_a_failure_of_the_first_is_raised() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        Ranks().first_does(fail)
