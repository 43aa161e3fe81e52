"""Slopes of discriminators whose slopes are known."""

import pytest
import torch
from torch import Tensor, nn

from vitrail.networks.discriminator import patch
from vitrail.networks.discriminator._discriminator import Discriminator, Opinion
from vitrail.objectives.adversarial._penalties import gradient_penalty, r1, slope
from vitrail.types import DataSpec


class Square(Discriminator):
    """|x|^2 * scale, as a map of two equal logits."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Opinion:
        logit = self.scale * x.flatten(1).square().sum(1)
        return Opinion(logit[:, None].expand(-1, 2), (x,))


def test_r1_of_a_linear_discriminator(linear: Discriminator, real: Tensor) -> None:
    squared = sum(float(weight.square().sum()) for name, weight in linear.named_parameters() if name == "weight")
    assert float(r1(linear, real)) == pytest.approx(squared / 2)


def test_gradient_penalty_of_a_linear_discriminator(linear: Discriminator, real: Tensor, fake: Tensor) -> None:
    length = float(dict(linear.named_parameters())["weight"].norm())
    assert float(gradient_penalty(linear, real, fake)) == pytest.approx((length - 1) ** 2)


def test_r1_of_a_square_and_its_own_slope(real: Tensor) -> None:
    net = Square()
    found = r1(net, real)
    sizes = real.flatten(1).square().sum(1)
    torch.testing.assert_close(found, 0.5 * (4 * 1.5**2 * sizes).mean())
    found.backward()
    torch.testing.assert_close(net.scale.grad, (4 * 1.5 * sizes).mean())


def test_the_points_of_the_gradient_penalty_lie_between(real: Tensor, fake: Tensor) -> None:
    seen: list[Tensor] = []

    class Spy(Square):
        def forward(self, x: Tensor) -> Opinion:
            seen.append(x.detach())
            return super().forward(x)

    torch.manual_seed(0)
    gradient_penalty(Spy(), real, fake)
    share = (seen[0] - real) / (fake - real)  # the same for all values of a sample, another for every sample
    torch.testing.assert_close(share, share[:, :1, :1, :1].expand_as(share), atol=1e-3, rtol=0)
    assert ((share > 0) & (share < 1)).all()
    assert share[:, 0, 0, 0].unique().numel() == 5


def test_slopes_of_samples_are_their_own(real: Tensor) -> None:
    net = Square()
    torch.testing.assert_close(slope(net, real)[1:2], slope(net, real[1:2]))


def test_penalties_are_in_float32_under_autocast_and_without_gradients() -> None:
    torch.manual_seed(0)
    net, x = patch.Config(width=8).build(DataSpec(shape=(1, 12, 12))), torch.rand(3, 1, 12, 12)
    exact = r1(net, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(r1(net, x), exact)
        r1(net, x).backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in net.parameters())
    with torch.no_grad():
        torch.testing.assert_close(r1(net, x), exact)
    assert not x.requires_grad
