"""Noise stands where there is no encoder, and nowhere else."""

import pytest
import torch

from vitrail.bottlenecks import noise
from vitrail.errors import UsageError


def test_it_says_how_z_is_scattered() -> None:
    bottleneck = noise.Config(channels=5).build(0)
    assert torch.equal(bottleneck.scale(), torch.ones(5))
    assert not bottleneck.state_dict().keys() - {"progress"}
    assert (bottleneck.channels, bottleneck.size) == (5, 0)


def test_it_refuses_an_encoder() -> None:
    with pytest.raises(UsageError, match="bottleneck=noise lets nothing of an encoder through"):
        noise.Config().build(16)
