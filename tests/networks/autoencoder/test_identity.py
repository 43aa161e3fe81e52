"""The network that is none."""

import pytest
import torch

from vitrail.errors import UsageError
from vitrail.networks.autoencoder import identity
from vitrail.types import DataSpec


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 4, 5), (3, 2, 3, 4)])
def test_values_go_through_as_they_are(shape: tuple[int, ...]) -> None:
    config, spec = identity.Config(), DataSpec(shape=shape)
    x = torch.rand(2, *shape)
    encoder = config.encoder(spec)
    assert torch.equal(config.decoder(spec, 3, 3)(encoder(x)), x)
    assert encoder.width == 3
    assert config.stride == 1
    assert not [*encoder.parameters()]


def test_a_likelihood_that_wants_more_numbers_is_refused() -> None:
    with pytest.raises(UsageError, match="use reconstruction=mse"):
        identity.Config().decoder(DataSpec(shape=(3, 4, 4)), channels=3, outputs=6)
