"""What every denoiser must do; a new file is tested by existing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.errors import DataError, UsageError
from vitrail.networks.denoiser._denoiser import Denoiser

FOLDER = "networks/denoiser"
SMALL: dict[str, dict[str, Any]] = {
    "unet": {"width": 16, "blocks": 1, "multipliers": (1, 2)},
    "dit": {"width": 32, "depth": 2},
    "mlp": {"width": 32, "depth": 2},
}
NAMES = catalog.names(FOLDER)
SPACES = [(), (9,), (7, 5), (8, 8), (5, 4, 6)]
CLASSES = 3


def build(name: str, space: tuple[int, ...], scalars: int = 1, classes: int = CLASSES, **changes: Any) -> Denoiser:
    torch.manual_seed(0)
    config = catalog.find(FOLDER, name).Config(**{**SMALL.get(name, {}), **changes})
    net: Denoiser = config.build(3, 2, space, classes, scalars)
    return net


def awake(net: Denoiser) -> Denoiser:
    """With weights where there were zeros, as after some steps of training."""
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return net.eval()


def inputs(space: tuple[int, ...], scalars: int = 1, batch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(batch, 3, *space), 1000 * torch.rand(batch, scalars), torch.arange(batch) % (CLASSES + 1)


def takes(name: str, space: tuple[int, ...]) -> bool:
    return bool(space) or name == "mlp"


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_a_start_at_zero(name: str, space: tuple[int, ...]) -> None:
    if not takes(name, space):
        with pytest.raises(UsageError, match="use denoiser=mlp"):
            build(name, space)
        return
    out = build(name, space)(*inputs(space))
    assert out.shape == (3, 2, *space)
    assert not out.any()


@pytest.mark.parametrize("scalars", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_every_weight_learns(name: str, scalars: int) -> None:
    net = awake(build(name, (7, 5), scalars)).train()
    net(*inputs((7, 5), scalars)).square().sum().backward()
    for where, weight in net.named_parameters():
        assert weight.grad is not None, where
        assert weight.grad.isfinite().all(), where
        assert weight.grad.any(), where


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_see_each_other(name: str, space: tuple[int, ...]) -> None:
    if not takes(name, space):
        return
    net, (z, told, label) = awake(build(name, space)), inputs(space)
    torch.testing.assert_close(net(z, told, label)[1:2], net(z[1:2], told[1:2], label[1:2]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_level_step_and_class_matter_and_none_is_a_class(name: str) -> None:
    net, (z, told, label) = awake(build(name, (8, 8), scalars=2)), inputs((8, 8), scalars=2)
    out, none = net(z, told, label), torch.full_like(label, CLASSES)
    for other in (net(z, told + 100, label), net(z, told.flip(1), label), net(z, told, none)):
        assert (other - out).flatten(1).norm(dim=1).gt(1e-3).all()


@pytest.mark.parametrize("name", NAMES)
def test_without_classes_the_label_is_ignored(name: str) -> None:
    net, (z, told, label) = awake(build(name, (8, 8), classes=0)), inputs((8, 8))
    assert torch.equal(net(z, told, label), net(z, told, torch.zeros_like(label)))


@pytest.mark.parametrize("name", NAMES)
def test_bf16_is_close(name: str) -> None:
    net, given = awake(build(name, (8, 8))), inputs((8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(*given)
    exact = net(*given)
    assert (rough.float() - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("name", NAMES)
def test_neighbouring_levels_differ_in_bf16(name: str) -> None:
    net, (z, _, label) = awake(build(name, (8, 8))), inputs((8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(net(z, torch.full((3, 1), 999.0), label), net(z, torch.full((3, 1), 1000.0), label))


@pytest.mark.parametrize("name", NAMES)
def test_other_sizes_at_sampling(name: str) -> None:
    net = awake(build(name, (8, 8)))
    for space in ((8, 8), (12, 8), (5, 7)):
        if name == "mlp" and space != (8, 8):
            with pytest.raises(DataError, match=r"reads latents of shape \(3, 8, 8\) only"):
                net(*inputs(space))
        else:
            assert net(*inputs(space)).shape == (3, 2, *space)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mlp"])
@pytest.mark.parametrize("space", [(9,), (7, 5), (8, 8)])
def test_patches(name: str, space: tuple[int, ...]) -> None:
    net = awake(build(name, space, patch=2))
    assert net(*inputs(space)).shape == (3, 2, *space)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_for_training_alone(name: str) -> None:
    net, given = awake(build(name, (8, 8), dropout=0.5)), inputs((8, 8))
    assert torch.equal(net(*given), net(*given))
    net.train()
    assert not torch.equal(net(*given), net(*given))
