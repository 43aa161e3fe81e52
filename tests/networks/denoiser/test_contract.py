"""What every denoiser must do; a new file is tested by existing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.errors import DataError, UsageError
from vitrail.networks.denoiser._denoiser import Denoiser, Ports
from vitrail.types import NO_BYTE

FOLDER = "networks/denoiser"
SMALL: dict[str, dict[str, Any]] = {
    "unet": {"width": 16, "blocks": 1, "multipliers": (1, 2)},
    "dit": {"width": 32, "depth": 2},
    "mlp": {"width": 32, "depth": 2},
}
NAMES = catalog.names(FOLDER)
SPACES = [(), (9,), (7, 5), (8, 8), (5, 4, 6)]
CLASSES = 3
TOKENS = 6  # bytes of a caption


def build(
    name: str, space: tuple[int, ...], scalars: int = 1, classes: int = CLASSES, tokens: int = 0, **changes: Any
) -> Denoiser:
    torch.manual_seed(0)
    config = catalog.find(FOLDER, name).Config(**{**SMALL.get(name, {}), **changes})
    net: Denoiser = config.build(Ports(3, 2, space, classes, scalars, tokens))
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


def reader(name: str, **changes: Any) -> Denoiser:
    return build(name, (8, 8), tokens=TOKENS, **changes)


def texts(*rows: str) -> Tensor:
    return torch.tensor([[*row.encode(), *[NO_BYTE] * (TOKENS - len(row))] for row in rows])


@pytest.mark.parametrize("name", NAMES)
def test_with_captions_it_starts_at_zero_and_every_weight_learns(name: str) -> None:
    given = (*inputs((8, 8)), texts("red", "", "a blue"))
    assert not reader(name)(*given).any()
    net = awake(reader(name)).train()
    net(*given).square().sum().backward()
    for where, weight in net.named_parameters():
        assert weight.grad is not None, where
        assert weight.grad.isfinite().all(), where
        assert weight.grad.any(), where


@pytest.mark.parametrize("name", NAMES)
def test_every_byte_matters_and_so_does_their_order(name: str) -> None:
    net, given = awake(reader(name)), inputs((8, 8))
    out = net(*given, texts("red", "red", "red"))
    for other in ("rad", "re", "der", "", "redred"):
        assert (net(*given, texts(other, other, other)) - out).flatten(1).norm(dim=1).gt(1e-4).all(), other


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_see_each_other_s_texts(name: str) -> None:
    net, (z, told, label) = awake(reader(name)), inputs((8, 8))
    text = texts("red", "", "a blue")
    whole = net(z, told, label, text)
    assert whole.isfinite().all()  # a text of nothing too
    for i in range(3):
        row = slice(i, i + 1)
        torch.testing.assert_close(net(z[row], told[row], label[row], text[row]), whole[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_may_be_read_once_for_many_calls(name: str) -> None:
    net, given, text = awake(reader(name)), inputs((8, 8)), texts("red", "", "a blue")
    assert torch.equal(net(*given, net.read(text)), net(*given, text))
    with torch.no_grad():
        torch.testing.assert_close(net(*given, net.read(text)), net(*given, text))


@pytest.mark.parametrize("name", NAMES)
def test_bf16_is_close_with_captions(name: str) -> None:
    net, given = awake(reader(name)), (*inputs((8, 8)), texts("red", "", "a blue"))
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(*given)
    exact = net(*given)
    assert (rough.float() - exact).norm() < 0.04 * exact.norm()


@pytest.mark.parametrize("changes", [{"shared": True}, {"classic": True}, {"dropout": 0.2}])
def test_all_kinds_of_transformers_read(changes: dict[str, Any]) -> None:
    net, given = awake(reader("dit", **changes)), inputs((8, 8))
    assert not torch.allclose(net(*given, texts("red", "red", "red")), net(*given, texts("", "", "")))


@pytest.mark.parametrize("name", NAMES)
def test_without_captions_nothing_is_added(name: str) -> None:
    net = build(name, (8, 8))
    added = reader(name).state_dict().keys() - net.state_dict().keys()
    assert added
    assert net(*inputs((8, 8)), None).shape == (3, 2, 8, 8)
    assert net.conditioning.label.num_embeddings == CLASSES + 1  # type: ignore[union-attr]
