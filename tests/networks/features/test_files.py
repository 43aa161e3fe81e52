import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from vitrail.errors import ModelError, UsageError
from vitrail.networks.features import dino, load_features, load_fitting, packed, small


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small net as a folder."""
    torch.manual_seed(0)
    net = small.Config(channels=1, classes=3, width=4).build()
    for name, content in packed(net, {"accuracy": 0.5}).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_a_folder_gives_the_same_net_ready_for_use(folder: Path) -> None:
    x = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    first, second = load_features(folder), load_features(folder)
    assert (first.name, first.width) == ("small", 16)
    assert first.sha256 == second.sha256
    assert len(first.sha256) == 64
    assert not first.training
    assert not any(weight.requires_grad for weight in first.parameters())
    assert torch.equal(first.features(x), second.features(x))


def test_shapes_of_its_maps_come_with_it(folder: Path) -> None:
    net, shapes = load_fitting(folder, (1, 12, 9))
    assert shapes == tuple(tuple(found.shape[1:]) for found in net.maps(torch.rand(2, 1, 12, 9)))


def test_pictures_it_does_not_take_are_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not take pictures of shape \(3, 12, 12\): this feature net wants"):
        load_fitting(folder, (3, 12, 12))
    (other := tmp_path / "dino.safetensors").write_bytes(
        save(dino.Config(width=64, depth=1, hidden=64).build().state_dict())
    )
    with pytest.raises(UsageError, match=r"does not take pictures of shape \(2, 28, 28\)") as caught:
        load_fitting(other, (2, 28, 28))
    assert "\n" not in str(caught.value)


def test_other_weights_have_another_sha256(folder: Path) -> None:
    before = load_features(folder).sha256
    weights = load_file(folder / "features.safetensors")
    weights["head.bias"] += 1
    save_file(weights, folder / "features.safetensors")
    assert load_features(folder).sha256 != before


def test_every_tensor_that_does_not_fit_is_named(folder: Path) -> None:
    weights = load_file(folder / "features.safetensors")
    del weights["head.bias"]
    weights["extra.weight"] = torch.zeros(1)
    weights["head.weight"] = torch.zeros(3, 5)
    save_file(weights, folder / "features.safetensors")
    with pytest.raises(ModelError) as caught:
        load_features(folder)
    for expected in ("missing head.bias", "unused extra.weight", "head.weight is (3, 5), not (3, 16)"):
        assert expected in str(caught.value)


def test_batch_norm_counters_may_be_absent(folder: Path) -> None:
    weights = load_file(folder / "features.safetensors")
    kept = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(weights)
    save_file(kept, folder / "features.safetensors")
    load_features(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": 1}', "cannot be read"),
        ('{"format": 2, "net": {"name": "small"}}', "another format"),
        ('{"format": 1, "net": {"name": "large"}}', "another format"),
        ('{"format": 1, "net": {"name": "small", "wdth": 3}}', "cannot be read"),
    ],
)
def test_a_broken_description_is_one_line(folder: Path, text: str, says: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelError, match=says) as caught:
        load_features(folder)
    assert "\n" not in str(caught.value)


def test_what_is_no_feature_net(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no feature net at"):
        load_features(tmp_path / "nothing")
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_features(tmp_path)
    (tmp_path / "weights.pth").write_bytes(b"\x80\x02")
    with pytest.raises(ModelError, match=r"vitrail\.interop\.checkpoint"):
        load_features(tmp_path / "weights.pth")
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_features(tmp_path / "torn.safetensors")
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"begin conv\.weight"):
        load_features(tmp_path / "other.safetensors")


def test_the_record_is_kept(folder: Path) -> None:
    assert json.loads((folder / "config.json").read_text())["record"] == {"accuracy": 0.5}
