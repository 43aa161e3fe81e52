"""The moving average against its closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vitrail.training.ema import Average, decay_after


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), 7.0))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("level", torch.full((2,), 7.0))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.tied = self.weight


def test_warm_up_of_the_decay() -> None:
    assert decay_after(0, 0.999) == 0.1
    assert decay_after(90, 0.999) == 0.91
    assert decay_after(10**6, 0.999) == 0.999


@pytest.mark.parametrize("decay", [0.999, 0.5])
def test_it_is_the_weighted_mean_of_all_values(decay: float) -> None:
    """After n updates with d_k, value k weighs (1 - d_k) * prod(d_j, j > k), and the start prod(d_j)."""
    net, steps = Net(), 40
    average = Average(net, decay)
    for k in range(steps):
        net.weight.data.fill_(math.sin(k))
        net.level.fill_(math.cos(k))
        net.count += 1
        average.update(k)
    decays = [decay_after(k, decay) for k in range(steps)]
    weights = [(1 - decays[k]) * math.prod(decays[k + 1 :]) for k in range(steps)]
    rest = math.prod(decays)
    own = average.module()
    assert own.weight[0].item() == pytest.approx(
        7 * rest + sum(w * math.sin(k) for k, w in enumerate(weights)), abs=1e-5
    )
    assert own.level.tolist() == net.level.tolist()
    assert int(own.count) == steps
    assert rest < 1e-7  # a short run has forgotten its start


def test_what_is_frozen_is_shared_and_what_is_tied_stays_tied() -> None:
    net = Net()
    average = Average(net, 0.9)
    assert average.copy.frozen is net.frozen
    assert average.copy.tied is average.copy.weight
    assert set(average.tensors()) == {"weight"}
    assert not any(weight.requires_grad for weight in average.copy.parameters())


def test_no_decay_means_no_copy_and_modes_are_put_back() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    net[1].eval()
    average = Average(net, 0.0)
    average.update(0)
    assert average.tensors() == {}
    with average.used() as module:
        assert module is net
        assert not any(part.training for part in module.modules())
        assert not torch.is_grad_enabled()
    assert [part.training for part in net.modules()] == [True, True, False]


def test_what_jumps_is_copied() -> None:
    """A code that was moved is where it was moved to, not on its way there."""

    class Book(nn.Module):
        jumps = ("codes",)

        def __init__(self) -> None:
            super().__init__()
            self.codes = nn.Parameter(torch.zeros(3))
            self.turn = nn.Parameter(torch.zeros(3))

    net = nn.Sequential(Book())
    average = Average(net, 0.999)
    for weight in net.parameters():
        weight.data.fill_(1.0)
    average.update(1000)
    own = average.module()[0]
    assert own.codes.tolist() == [1.0] * 3
    assert 0 < float(own.turn[0]) < 0.1
