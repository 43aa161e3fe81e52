"""Weight files for the parts that need one: random nets that behave as if they had learnt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vitrail import catalog
from vitrail.networks.features import packed, small
from vitrail.networks.vgg import Vgg16
from vitrail.objectives.perceptual import lpips
from vitrail.objectives.perceptual._perceptual import Perceptual
from vitrail.types import DataSpec


def as_if_trained(thinner: int) -> dict[str, Tensor]:
    """VGG16 in torchvision's layout and heads. Every channel's mean and variance are set over the pictures by which it will be
    judged, which keeps unlike pictures apart in all layers, as learning does."""
    generator = torch.Generator().manual_seed(0)
    net = Vgg16(thinner).requires_grad_(False)
    x = torch.cat(list(lpips.examples().values()))
    x = (2 * x - 1 - torch.tensor(lpips.SHIFT).view(1, 3, 1, 1)) / torch.tensor(lpips.SCALE).view(1, 3, 1, 1)
    for layer in net.features:
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            layer.weight.normal_(generator=generator)
            layer.bias.zero_()
            h = layer(x)
            layer.weight /= h.std((0, 2, 3)).view(-1, 1, 1, 1)
            layer.bias -= h.mean((0, 2, 3)) / h.std((0, 2, 3)) + 0.25
        x = layer(x)
    heads = {
        f"lin{layer}.model.1.weight": torch.rand(1, width // thinner, 1, 1, generator=generator) / width * thinner
        for layer, width in enumerate((64, 128, 256, 512, 512))
    }
    return {**net.state_dict(), **heads}


@pytest.fixture(scope="session")
def lpips_weights() -> dict[str, Tensor]:
    return as_if_trained(thinner=16)


@pytest.fixture(scope="session")
def whole_vgg() -> dict[str, Tensor]:
    """Of the published size, without heads."""
    return {name: value for name, value in as_if_trained(thinner=1).items() if name.startswith("features.")}


@pytest.fixture(scope="session")
def lpips_file(lpips_weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("lpips") / "lpips.safetensors"
    save_file(lpips_weights, file)
    return file


@pytest.fixture(scope="session")
def feature_nets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Folders of small feature nets for grey pictures and RGB."""
    folders = {channels: tmp_path_factory.mktemp("features") for channels in (1, 3)}
    for channels, folder in folders.items():
        torch.manual_seed(0)
        for name, content in packed(small.Config(channels=channels, width=8).build(), {}).items():
            (folder / name).write_bytes(content)
    return folders


@pytest.fixture(scope="session")
def built(lpips_file: Path, feature_nets: dict[int, Path]) -> Callable[..., Perceptual]:
    """`built(name, shape, **settings)`: a part of the folder, with weights where it needs some."""

    def build(name: str, shape: tuple[int, ...], **settings: Any) -> Perceptual:
        needed = {"lpips": {"weights": str(lpips_file)}, "features": {"path": str(feature_nets.get(shape[0], "none"))}}
        config = catalog.find("objectives/perceptual", name).Config(**{**needed.get(name, {}), **settings})
        part = config.build(DataSpec(shape=shape))
        assert isinstance(part, Perceptual)
        return part

    return build
