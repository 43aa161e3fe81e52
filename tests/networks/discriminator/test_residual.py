import pytest
import torch

from vitrail.errors import DataError, UsageError
from vitrail.networks.discriminator import residual
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 16, 16))


def test_blocks_leave_four_points() -> None:
    net = residual.Config(width=8, widest=16).build(DataSpec(shape=(3, 60, 17)))
    opinion = net(torch.rand(2, 3, 60, 17))
    assert opinion.logits.shape == (2,)
    shapes = [tuple(hidden.shape[1:]) for hidden in opinion.features]
    assert shapes == [(8, 30, 9), (16, 15, 5), (16, 8, 3), (16, 4, 2)]


def test_a_batch_that_is_alike_is_told_from_one_that_is_not() -> None:
    torch.manual_seed(0)
    net = residual.Config(width=8, spread=2).build(SPEC)
    x = torch.rand(2, 1, 16, 16)
    alike = net(x[:1].expand(2, -1, -1, -1)).logits
    torch.testing.assert_close(alike[0], alike[1])
    torch.testing.assert_close(net(x[:1]).logits, alike[:1])
    assert (net(x).logits[0] - alike[0]).abs() > 1e-4


def test_groups_are_neighbours_and_the_last_may_be_smaller() -> None:
    torch.manual_seed(0)
    net = residual.Config(width=8, spread=3).build(SPEC)
    x = torch.rand(8, 1, 16, 16)
    rounds = torch.cat([net(part).logits for part in (x[:3], x[3:6], x[6:])])
    torch.testing.assert_close(net(x).logits, rounds)


def test_scatter_is_the_mean_standard_deviation() -> None:
    x = torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    found = residual.with_scatter(x, 2)
    assert torch.equal(found[:, :2], x)
    expected = torch.stack([x[:2].std(0, correction=0).mean(), x[2:].std(0, correction=0).mean()])
    torch.testing.assert_close(found[::2, 2, 0, 0], expected)
    assert (found[:, 2] == found[:, 2, :1, :1]).all()


def test_scatter_of_equal_samples_has_finite_slopes() -> None:
    x = torch.zeros(2, 2, 4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(residual.with_scatter(x, 2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.square().sum(), x)
    assert slope.isfinite().all()
    assert second.isfinite().all()


def test_what_it_cannot_judge_is_refused() -> None:
    with pytest.raises(UsageError, match="1 to 3 space axes"):
        residual.Config().build(DataSpec(shape=(3,)))
    with pytest.raises(DataError, match=r"samples of shape \(1, 16, 16\), got \(1, 15, 16\)"):
        residual.Config(width=8).build(SPEC)(torch.rand(1, 1, 15, 16))
