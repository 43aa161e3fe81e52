import pytest
import torch

from vitrail.errors import UsageError
from vitrail.networks.features import small


@pytest.mark.parametrize("size", [(8, 8), (13, 9), (28, 28), (64, 40)])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_for_any_size(channels: int, size: tuple[int, int]) -> None:
    net = small.Config(channels=channels, classes=5, width=4, stages=2).build().eval()
    x = torch.rand(3, channels, *size)
    assert net.features(x).shape == (3, net.width) == (3, 16)
    assert net.logits(x).shape == (3, 5)


def test_features_are_float32_under_autocast_and_carry_a_gradient() -> None:
    net = small.Config(width=4).build()
    x = torch.rand(4, 1, 16, 16, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = net.features(x)
    assert features.dtype == torch.float32
    features.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 1, 7, 28)])
def test_what_it_does_not_take_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="at least 8 x 8"):
        small.Config(channels=1).build().features(torch.rand(shape))
