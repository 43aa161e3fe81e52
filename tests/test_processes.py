"""Alone nothing is exchanged; what two processes have together is in the contract and in the entropies' tests."""

import torch

from vitrail.processes import averaged, gathered, of_first, several, summed


def test_alone_nothing_is_exchanged() -> None:
    x = torch.randn(3)
    assert not several()
    for function in (summed, averaged, gathered, of_first):
        assert function(x) is x
