"""Patches, sharing and positions of the transformer. That its classic form computes what diffusers' does: tests/interop."""

import pytest
import torch
from pydantic import ValidationError

from vitrail.networks.denoiser import dit
from vitrail.networks.denoiser._denoiser import Ports


@pytest.mark.parametrize(("space", "patch"), [((7, 7), 1), ((16, 16), 1), ((28, 28), 2), ((64, 64), 4), ((100,), 8)])
def test_an_open_patch_keeps_tokens_few(space: tuple[int, ...], patch: int) -> None:
    assert dit.Config().patch_of(space) == patch


def test_sharing_the_modulation_saves_weights() -> None:
    own, shared = (
        sum(
            weight.numel()
            for weight in dit.Config(width=64, depth=8, shared=shared).build(Ports(4, 4, (7, 7), 10)).parameters()
        )
        for shared in (False, True)
    )
    assert shared < 0.75 * own
    with pytest.raises(ValidationError, match="shared=false"):
        dit.Config(shared=True, classic=True)


@pytest.mark.parametrize("classic", [False, True])
def test_it_knows_where_a_token_lies(classic: bool) -> None:
    torch.manual_seed(0)
    net = dit.Config(width=32, depth=2, classic=classic).build(Ports(1, 1, (4, 4), 0)).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    z, told, label = torch.randn(1, 1, 4, 4), torch.zeros(1, 1), torch.zeros(1, dtype=torch.long)
    swapped = net(z.transpose(2, 3), told, label).transpose(2, 3)
    assert not torch.allclose(net(z, told, label), swapped, atol=1e-3)


def test_classic_positions_cover_the_same_range_on_any_grid() -> None:
    net = dit.Config(width=32, depth=1, classic=True, patch=2).build(Ports(1, 1, (16, 16), 0))
    coarse, fine = (net._positions((n, n), torch.device("cpu")).unflatten(0, (n, n)) for n in (8, 16))
    torch.testing.assert_close(fine[::2, ::2], coarse)


@pytest.mark.parametrize("space", [(10,), (3, 4, 5)])
def test_classic_over_other_axes(space: tuple[int, ...]) -> None:
    net = dit.Config(width=32, depth=1, classic=True, patch=1).build(Ports(2, 2, space, 0))
    assert net(torch.randn(2, 2, *space), torch.zeros(2, 1), torch.zeros(2, dtype=torch.long)).shape == (2, 2, *space)
