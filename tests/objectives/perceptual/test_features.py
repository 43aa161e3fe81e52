"""Distance in one's own feature net, against the formula on its maps."""

from pathlib import Path

import pytest
import torch

from vitrail.errors import ModelError, UsageError
from vitrail.networks.features import load_features
from vitrail.objectives.perceptual import features
from vitrail.types import DataSpec


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 20, 33)])
def test_the_formula(shape: tuple[int, ...], feature_nets: dict[int, Path]) -> None:
    path, generator = str(feature_nets[shape[0]]), torch.Generator().manual_seed(0)
    x_hat, x = torch.rand(2, *shape, generator=generator), torch.rand(2, *shape, generator=generator)
    expected = torch.zeros(2)
    net = load_features(path)
    for made, seen in zip(net.maps(x_hat), net.maps(x), strict=True):
        a, b = (found / found.square().sum(1, keepdim=True).sqrt().clamp_min(1e-10) for found in (made, seen))
        expected += (a - b).square().sum(1).mean((1, 2)) / len(net.widths)
    torch.testing.assert_close(features.Config(path=path).build(DataSpec(shape=shape))(x_hat, x), expected)


@pytest.mark.parametrize(("channels", "shape"), [(1, (3, 28, 28)), (3, (1, 28, 28)), (1, (1, 6, 28))])
def test_pictures_the_net_does_not_take_are_refused(
    channels: int, shape: tuple[int, ...], feature_nets: dict[int, Path]
) -> None:
    with pytest.raises(UsageError, match="does not take") as caught:
        features.Config(path=str(feature_nets[channels])).build(DataSpec(shape=shape))
    assert "\n" not in str(caught.value)


def test_a_missing_net_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no feature net at") as caught:
        features.Config(path=str(tmp_path / "nowhere")).build(DataSpec(shape=(1, 28, 28)))
    assert "\n" not in str(caught.value)


def test_it_cannot_be_asked_for_without_a_net() -> None:
    with pytest.raises(ValueError, match="path"):
        features.Config()  # type: ignore[call-arg]
