"""Alone nothing is exchanged; what two processes have together is in the contract and in the entropies' tests."""

import torch

from vitrail.processes import averaged, gathered, mean_of_all, mean_of_rounds, of_first, several, summed


def test_alone_nothing_is_exchanged() -> None:
    x = torch.randn(3)
    assert not several()
    for function in (summed, averaged, gathered, of_first):
        assert function(x) is x


def test_rounds_count_by_their_samples() -> None:
    seen = [(3, torch.tensor([1.0, 2.0])), (1, torch.tensor([5.0, 6.0]))]
    torch.testing.assert_close(mean_of_rounds(seen), torch.tensor([2.0, 3.0]))
    assert mean_of_rounds(seen) is None
    x = torch.randn(3, requires_grad=True)
    assert torch.equal(mean_of_all(x), x)
    assert not mean_of_all(x).requires_grad
