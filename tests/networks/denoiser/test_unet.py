"""The levels of the U-net, and its layout in memory. That it computes what diffusers' does: tests/interop."""

import pytest
import torch

from vitrail.errors import UsageError
from vitrail.networks.denoiser import mlp, unet
from vitrail.networks.denoiser._denoiser import Ports


@pytest.mark.parametrize(
    ("space", "patch", "widths"),
    [
        ((7, 7), 1, (64,)),
        ((28, 28), 1, (64, 128, 128)),
        ((28, 28), 2, (64, 128)),
        ((9,), 1, (64, 128)),
        ((4, 4, 4), 1, (64,)),
    ],
)
def test_levels_fit_the_map(space: tuple[int, ...], patch: int, widths: tuple[int, ...]) -> None:
    assert unet.Config(patch=patch).widths(space) == widths


def test_attention_is_where_points_are_few() -> None:
    assert unet.Config().attends((28, 28)) == (False, False, True)
    assert unet.Config(attention=16).attends((28, 28)) == (False, True, True)
    assert unet.Config(attention=0).attends((7, 7)) == (False,)


def test_every_map_inside_has_channels_last() -> None:
    net = unet.Config(width=16).build(Ports(1, 1, (16, 16), 0))
    layouts = []
    for layer in net.modules():
        if isinstance(layer, unet.Residual | unet.Attention):
            layer.register_forward_hook(
                lambda _, __, out: layouts.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    out = net(torch.randn(2, 1, 16, 16), torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))
    assert layouts
    assert all(layouts)
    assert out.is_contiguous()


def test_awkward_widths_share_groups_and_heads() -> None:
    net = unet.Config(width=36, multipliers=(1, 3)).build(Ports(1, 1, (8, 8), 0))
    assert 36 % net.groups == 0
    assert 36 % net.head == 0


def test_an_mlp_refuses_pictures() -> None:
    with pytest.raises(UsageError, match="use denoiser=unet"):
        mlp.Config().build(Ports(3, 3, (64, 64), 0))
