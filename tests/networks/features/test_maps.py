"""The hidden layers that every feature net shows; a new net needs a line in NETS."""

from collections.abc import Callable

import pytest
import torch

from vitrail import catalog
from vitrail.networks.features import FeatureNet, dino, inception, small

NETS: dict[str, Callable[[], FeatureNet]] = {
    "dino": lambda: dino.Config(width=64, depth=5, hidden=64, patch=2, grid=8, registers=1).build(),
    "inception": lambda: inception.Config().build(),
    "small": lambda: small.Config(channels=1, width=4, stages=2).build(),
}
SIDES = {"dino": (16,) * 4, "inception": (147, 71, 35, 17, 8), "small": (12, 6, 3)}


@pytest.fixture(scope="module", params=catalog.names("networks/features"))
def net(request: pytest.FixtureRequest) -> FeatureNet:
    torch.manual_seed(0)
    made: FeatureNet = NETS[request.param]()
    for weight in made.parameters():
        if weight.dim() > 1 and weight.abs().max() == 0:  # tokens and positions, which only a file fills
            torch.nn.init.normal_(weight)
    return made.eval().requires_grad_(False)


def _picture(count: int = 1) -> torch.Tensor:
    return torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(0))


def test_maps_have_the_widths_it_declares(net: FeatureNet) -> None:
    maps = net.maps(_picture())
    assert tuple(found.shape[1] for found in maps) == net.widths
    assert [found.shape[2:] for found in maps] == [(side, side) for side in SIDES[net.name]]


def test_every_map_has_a_slope_by_the_picture(net: FeatureNet) -> None:
    x = _picture().requires_grad_()
    for found in net.maps(x):
        (slope,) = torch.autograd.grad(found.square().mean(), x, retain_graph=True)
        assert slope.isfinite().all()
        assert slope.abs().max() > 0


def test_pictures_do_not_see_each_other(net: FeatureNet) -> None:
    both, one = net.maps(_picture(2)), net.maps(_picture(2)[1:])
    for a, b in zip(both, one, strict=True):
        torch.testing.assert_close(a[1:], b)


@pytest.mark.parametrize("net", ["inception", "small"], indirect=True)
def test_features_of_convolutions_are_the_mean_of_the_last_map(net: FeatureNet) -> None:
    x = (_picture() * 255).round() / 255  # inception's features are of 8 bits
    torch.testing.assert_close(net.features(x), net.maps(x)[-1].mean((2, 3)))


def test_the_last_map_of_dino_is_the_patches_after_the_last_block() -> None:
    net = dino.Config(width=64, depth=3, hidden=64, patch=2, grid=16, registers=2).build()
    for weight in net.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    x = torch.rand(2, 3, 32, 32)  # what it sees: not resized
    tokens = net.tokens(net._seen(x))[:, 3:]
    torch.testing.assert_close(net.maps(x)[-1].flatten(2).mT, tokens)
    assert len(net.maps(x)) == 3
