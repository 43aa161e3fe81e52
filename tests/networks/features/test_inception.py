"""On random weights: the layout, and the two oddities of the TensorFlow graph that decide whether FID agrees."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vitrail.errors import ModelError
from vitrail.networks.features import inception, load_features

PUBLISHED = {  # some names and shapes of pt_inception-2015-12-05
    "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
    "Conv2d_4a_3x3.bn.running_var": (192,),
    "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
    "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
    "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
    "Mixed_6c.branch7x7dbl_3.conv.weight": (160, 160, 1, 7),
    "Mixed_6e.branch7x7_3.conv.weight": (192, 192, 7, 1),
    "Mixed_7a.branch7x7x3_2.conv.weight": (192, 192, 1, 7),
    "Mixed_7b.branch3x3dbl_3a.conv.weight": (384, 384, 1, 3),
    "Mixed_7c.branch3x3_2b.conv.weight": (384, 384, 3, 1),
    "fc.weight": (1008, 2048),
}


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return inception.Config().build().state_dict()


@pytest.fixture(scope="module")
def file(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "weights.safetensors"
    save_file(weights, path)
    return path


def test_layout_is_the_published_one(weights: dict[str, Tensor]) -> None:
    assert {name: tuple(weights[name].shape) for name in PUBLISHED} == PUBLISHED
    assert sum(name.endswith("conv.weight") for name in weights) == 94
    learned = sum(value.numel() for name, value in weights.items() if "running" not in name and "num" not in name)
    assert learned == 23_834_568 - 1000 * 2049 + 1008 * 2049  # torchvision's without auxiliary head, 1008 classes


def test_loads_and_is_deterministic(file: Path) -> None:
    net = load_features(file)
    x = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    features = net.features(x)
    assert (net.name, features.shape) == ("inception", (2, 2048))
    assert features.isfinite().all()
    assert torch.equal(features, load_features(file).features(x))
    assert torch.equal(features, net.features(x.expand(-1, 3, -1, -1)))


def test_a_missing_tensor_is_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({name: value for name, value in weights.items() if name != "Mixed_6d.branch_pool.bn.bias"}, path)
    with pytest.raises(ModelError, match=r"missing Mixed_6d\.branch_pool\.bn\.bias"):
        load_features(path)


@pytest.mark.parametrize("size", [(28, 28), (40, 25), (299, 299), (400, 310)])
def test_resize_reads_at_i_times_scale(size: tuple[int, int]) -> None:
    x = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0))
    ours = inception.resize_like_tensorflow(x, 299)
    for i, j in [(0, 0), (1, 7), (150, 33), (298, 298), (297, 2)]:
        assert ours[0, 1, i, j] == pytest.approx(_tensorflow(x[0, 1].double().numpy(), i, j), abs=1e-6)


def _tensorflow(x: np.ndarray, i: int, j: int) -> float:
    """resize_bilinear of TensorFlow 1, align_corners=False, for one output pixel."""
    row, column = i * x.shape[0] / 299, j * x.shape[1] / 299
    top, left = int(row), int(column)
    bottom, right = min(top + 1, x.shape[0] - 1), min(left + 1, x.shape[1] - 1)
    upper = x[top, left] + (x[top, right] - x[top, left]) * (column - left)
    lower = x[bottom, left] + (x[bottom, right] - x[bottom, left]) * (column - left)
    return float(upper + (lower - upper) * (row - top))


def test_padding_is_not_counted() -> None:
    torch.testing.assert_close(inception.mean_around(torch.ones(1, 1, 5, 5)), torch.ones(1, 1, 5, 5))
