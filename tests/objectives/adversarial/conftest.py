"""A discriminator whose slopes are known."""

import pytest
import torch
from torch import Tensor, nn

from vitrail.networks.discriminator._discriminator import Discriminator, Opinion


class Linear(Discriminator):
    """One logit w . x + b per sample."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-0.5, 1, values))
        self.bias = nn.Parameter(torch.tensor(0.3))

    def forward(self, x: Tensor) -> Opinion:
        return Opinion(nn.functional.linear(x.flatten(1), self.weight[None], self.bias[None]).squeeze(1), (x,))


@pytest.fixture
def linear() -> Linear:
    return Linear(2 * 3 * 3)


@pytest.fixture
def real() -> Tensor:
    return torch.rand(5, 2, 3, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def fake() -> Tensor:
    return torch.rand(5, 2, 3, 3, generator=torch.Generator().manual_seed(1))
