from copy import deepcopy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from vitrail.errors import ModelError, UsageError
from vitrail.networks.discriminator import features
from vitrail.networks.features import dino, packed, small
from vitrail.objectives.adversarial._penalties import r1
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 28, 28))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    for file, content in packed(small.Config(channels=1, width=4).build(), {}).items():
        (tmp_path / file).write_bytes(content)
    return tmp_path


def test_every_map_has_a_head_with_about_as_many_votes(folder: Path) -> None:
    net = features.Config(path=str(folder), width=8).build(SPEC)
    opinion = net(torch.rand(2, 1, 28, 28))
    assert [tuple(hidden.shape) for hidden in opinion.features] == [(2, 8, 7, 7)] * 3  # of maps 28, 14 and 7 a side
    assert opinion.logits.shape == (2, 3 * 7 * 7)


def test_the_net_is_neither_learnt_nor_saved_nor_copied(folder: Path) -> None:
    net = features.Config(path=str(folder), width=8).build(SPEC)
    assert net.net is not None
    assert all(key.startswith("heads.") for key in net.state_dict())
    assert all(weight.requires_grad for weight in net.parameters())
    frozen = {key: value.clone() for key, value in net.net.net.state_dict().items()}
    assert deepcopy(net).net is net.net
    net.train()(torch.rand(2, 1, 28, 28)).logits.sum().backward()
    assert not net.net.net.training
    assert all(weight.grad is None for weight in net.net.net.parameters())
    assert all(torch.equal(value, frozen[key]) for key, value in net.net.net.state_dict().items())


def test_it_looks_through_a_transformer_and_its_slope_can_be_differentiated(tmp_path: Path) -> None:
    torch.manual_seed(0)
    seen_through = dino.Config(width=64, depth=2, hidden=64, patch=2, grid=16).build()
    for weight in seen_through.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    save_file(seen_through.state_dict(), tmp_path / "dino.safetensors")
    net = features.Config(path=str(tmp_path / "dino.safetensors"), width=8).build(DataSpec(shape=(3, 20, 20)))
    x = torch.rand(2, 3, 20, 20)
    assert net(x).logits.shape == (2, 2 * 8 * 8)  # two blocks' patches, 16 a side and halved once
    r1(net, x).backward()
    assert any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in net.parameters())


def test_a_path_must_be_given_and_lead_somewhere(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="path"):
        features.Config()  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="path"):
        features.Config(path="")
    with pytest.raises(ModelError, match="no feature net at"):
        features.Config(path=str(tmp_path / "nothing")).build(SPEC)


def test_the_meta_device_reads_no_file(tmp_path: Path) -> None:
    with torch.device("meta"):
        features.Config(path=str(tmp_path / "nothing")).build(SPEC)


@pytest.mark.parametrize("shape", [(1, 28), (2, 28, 28), (3, 8, 8, 8)])
def test_only_pictures_are_judged(shape: tuple[int, ...], folder: Path) -> None:
    with pytest.raises(UsageError, match="grey or RGB pictures"):
        features.Config(path=str(folder)).build(DataSpec(shape=shape))


def test_pictures_that_the_net_does_not_take_are_refused_when_it_is_built(folder: Path) -> None:
    with pytest.raises(UsageError, match="this feature net wants pictures"):
        features.Config(path=str(folder)).build(DataSpec(shape=(3, 28, 28)))
