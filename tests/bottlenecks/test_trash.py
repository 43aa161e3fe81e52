"""What is kept of a state, and what its loss costs."""

import pytest
import torch

from vitrail.bottlenecks import trash
from vitrail.errors import UsageError


def test_the_first_amplitudes_are_kept_and_the_others_cost() -> None:
    bottleneck = trash.Config(channels=2).build(4)
    latent = bottleneck(torch.tensor([[1.0, 1.0, 1.0, 1.0], [3.0, 4.0, 0.0, 0.0]]))
    assert torch.equal(latent.z, torch.tensor([[1.0, 1.0], [3.0, 4.0]]))
    torch.testing.assert_close(latent.terms["trash"], torch.tensor(0.25))
    torch.testing.assert_close(latent.stats["fidelity"], torch.tensor(0.75))


def test_length_does_not_matter() -> None:
    bottleneck, h = trash.Config(channels=4).build(16), torch.randn(5, 16)
    torch.testing.assert_close(bottleneck(7 * h).terms["trash"], bottleneck(h).terms["trash"])


def test_there_must_be_something_to_keep() -> None:
    with pytest.raises(UsageError, match="keeps 8 of an encoder's numbers, this one has 4"):
        trash.Config(channels=8).build(4)


def test_qubits_are_kept_whole() -> None:
    with pytest.raises(ValueError, match="6 is no power of 2; the nearest are 4 and 8"):
        trash.Config(channels=6)
