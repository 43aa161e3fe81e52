"""LPIPS on random weights: the arithmetic against the published description, every layout, and every refusal."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchmetrics
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitrail.errors import ModelError
from vitrail.interop.checkpoint import convert
from vitrail.objectives.perceptual import lpips
from vitrail.objectives.perceptual._perceptual import Perceptual
from vitrail.types import DataSpec

Weights = dict[str, Tensor]

POOLED = (4, 9, 16, 23)  # places of max pooling in torchvision's VGG16; each opens the next slice of the lpips package
ENDS = (3, 8, 15, 22, 29)  # of the slices
SHIFT, SCALE = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])


def _published(weights: Weights, x_hat: Tensor, x: Tensor) -> Tensor:
    """From the paper's equation 1 and the package's scaling, on torchvision's names."""
    a, b = ((2 * picture - 1 - SHIFT[:, None, None]) / SCALE[:, None, None] for picture in (x_hat, x))
    total = torch.zeros(len(x))
    for place in range(30):
        if place in POOLED:
            a, b = F.max_pool2d(a, 2), F.max_pool2d(b, 2)
        elif f"features.{place}.weight" in weights:
            kernel, bias = weights[f"features.{place}.weight"], weights[f"features.{place}.bias"]
            a, b = F.conv2d(a, kernel, bias, padding=1), F.conv2d(b, kernel, bias, padding=1)
        else:
            a, b = F.relu(a), F.relu(b)
        if place in ENDS:
            unit_a, unit_b = (h / (h.square().sum(1, keepdim=True).sqrt() + 1e-10) for h in (a, b))
            head = weights[f"lin{ENDS.index(place)}.model.1.weight"]
            total += F.conv2d((unit_a - unit_b).square(), head).mean((1, 2, 3))
    return total


def _package(weights: Weights) -> Weights:
    """The state dict of the lpips package."""
    made = {"scaling_layer.shift": SHIFT.view(1, 3, 1, 1), "scaling_layer.scale": SCALE.view(1, 3, 1, 1)}
    for name, value in weights.items():
        if name.startswith("lin"):
            made |= {name: value, name.replace("lin", "lins."): value.clone()}
        else:
            place = int(name.split(".")[1])
            number = next(i for i, end in enumerate(ENDS, 1) if place <= end)
            made[name.replace("features", f"net.slice{number}")] = value
    return made


def _heads(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if name.startswith("lin")}


def _vgg(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if name.startswith("features.")}


def _build(tmp_path: Path, weights: Weights, channels: int = 3, **settings: Any) -> Perceptual:
    save_file(weights, tmp_path / "vgg.safetensors")
    config = lpips.Config(weights=str(tmp_path / "vgg.safetensors"), **settings)
    return config.build(DataSpec(shape=(channels, 64, 64)))


def _refused(tmp_path: Path, weights: Weights, match: str, **settings: Any) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        _build(tmp_path, weights, **settings)
    assert "\n" not in str(caught.value)


def _pair(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, *shape, generator=generator), torch.rand(2, *shape, generator=generator)


def test_merged_file_agrees_with_the_published_description(lpips_weights: Weights, tmp_path: Path) -> None:
    x_hat, x = _pair(3, 48, 37)
    torch.testing.assert_close(_build(tmp_path, lpips_weights)(x_hat, x), _published(lpips_weights, x_hat, x))


def test_the_packages_own_layout(lpips_weights: Weights, tmp_path: Path) -> None:
    x_hat, x = _pair(3, 64, 64)
    ours = _build(tmp_path, _package(lpips_weights))(x_hat, x)
    torch.testing.assert_close(ours, _published(lpips_weights, x_hat, x))


@pytest.mark.parametrize("classifier", ["classifier.0.weight", "pre_logits.fc1.bias", "head.fc.weight"])
def test_whole_vgg16_beside_heads(lpips_weights: Weights, classifier: str, tmp_path: Path) -> None:
    save_file(_heads(lpips_weights), tmp_path / "heads.safetensors")
    weights = {**_vgg(lpips_weights), classifier: torch.ones(3)}
    x_hat, x = _pair(3, 64, 64)
    ours = _build(tmp_path, weights, heads=str(tmp_path / "heads.safetensors"))(x_hat, x)
    torch.testing.assert_close(ours, _published(lpips_weights, x_hat, x))


def test_the_published_heads_and_a_vgg16_of_full_size(whole_vgg: Weights, tmp_path: Path) -> None:
    """torchmetrics ships the heads of the package's version 0.1 as a pickle."""
    shipped = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/vgg.pth"
    convert(shipped, tmp_path / "heads.safetensors")
    heads = load_file(tmp_path / "heads.safetensors")
    joined = b"".join(heads[f"lin{layer}.model.1.weight"].numpy().tobytes() for layer in range(5))
    assert hashlib.sha256(joined).hexdigest() == "9153a2043dccf3b525d4f13db916e93ef040548ea923b6f2100de5ebac141a78"
    x_hat, x = _pair(3, 64, 64)
    ours = _build(tmp_path, whole_vgg, heads=str(tmp_path / "heads.safetensors"))(x_hat, x)
    torch.testing.assert_close(ours, _published({**whole_vgg, **heads}, x_hat, x))


def test_grey_pictures_are_repeated_and_small_ones_enlarged(lpips_weights: Weights, tmp_path: Path) -> None:
    x_hat, x = _pair(1, 28, 42)
    large = [F.interpolate(picture, (64, 96), mode="bilinear").expand(-1, 3, -1, -1) for picture in (x_hat, x)]
    ours = _build(tmp_path, lpips_weights, channels=1)(x_hat, x)
    torch.testing.assert_close(ours, _published(lpips_weights, *large))


def test_half_precision_files_are_read(lpips_weights: Weights, tmp_path: Path) -> None:
    made = _build(tmp_path, {name: value.half() for name, value in lpips_weights.items()})
    assert {value.dtype for value in made.state_dict().values()} == {torch.float32}


def test_loading_draws_no_random_numbers(lpips_weights: Weights, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    _build(tmp_path, lpips_weights)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_missing_left_over_or_misshapen_tensor_is_named(lpips_weights: Weights, tmp_path: Path) -> None:
    weights = {name: value for name, value in lpips_weights.items() if name != "features.7.bias"}
    weights |= {"features.40.weight": torch.ones(1), "lin2.model.1.weight": torch.ones(1, 5, 1, 1)}
    named = r"missing vgg.features.7.bias; unused vgg.features.40.weight; heads.2 is \(5,\), not \(16,\)"
    _refused(tmp_path, weights, named)


def test_files_without_heads_or_without_vgg16_are_refused(lpips_weights: Weights, tmp_path: Path) -> None:
    _refused(tmp_path, _vgg(lpips_weights), "holds no linear heads.*perceptual.heads=FILE")
    _refused(tmp_path, _heads(lpips_weights), "missing vgg.features.0.bias")
    save_file(lpips_weights, tmp_path / "heads.safetensors")
    _refused(tmp_path, lpips_weights, "holds what the other", heads=str(tmp_path / "heads.safetensors"))


def test_random_weights_are_refused(lpips_weights: Weights, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    kaiming = {
        name: torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
        if value.dim() == 4
        else torch.zeros_like(value)
        for name, value in _vgg(lpips_weights).items()
    }
    _refused(tmp_path, {**kaiming, **_heads(lpips_weights)}, "hardly tells a drawing from noise")


def test_weights_for_pictures_of_0_to_255_are_refused(lpips_weights: Weights, tmp_path: Path) -> None:
    """As Caffe's VGG16 is: on pictures of variance 1 its first layer sees little but its own biases."""
    mistaken = {**lpips_weights, "features.0.weight": lpips_weights["features.0.weight"] / 60}
    _refused(tmp_path, mistaken, "another scaling|no distance")


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_heads_that_are_no_published_ones_are_refused(value: float, lpips_weights: Weights, tmp_path: Path) -> None:
    head = lpips_weights["lin3.model.1.weight"].clone()
    head[0, 2] = value
    _refused(tmp_path, {**lpips_weights, "lin3.model.1.weight": head}, "negative or undefined")


def test_empty_heads_measure_nothing_and_are_refused(lpips_weights: Weights, tmp_path: Path) -> None:
    empty = {name: torch.zeros_like(value) for name, value in _heads(lpips_weights).items()}
    _refused(tmp_path, {**lpips_weights, **empty}, "no distance")


def test_contradictions_in_a_file_are_refused(lpips_weights: Weights, tmp_path: Path) -> None:
    package = _package(lpips_weights)
    _refused(tmp_path, {**package, "lins.0.model.1.weight": torch.ones(1, 4, 1, 1)}, "differ")
    _refused(tmp_path, {**package, "scaling_layer.shift": torch.zeros(1, 3, 1, 1)}, "scaling_layer.shift is")


def test_the_sha256_is_compared_where_given(lpips_weights: Weights, lpips_file: Path, tmp_path: Path) -> None:
    right = hashlib.sha256(lpips_file.read_bytes()).hexdigest()
    lpips.Config(weights=str(lpips_file), sha256=right).build(DataSpec(shape=(3, 64, 64)))
    _refused(tmp_path, lpips_weights, "its sha256 is .*, wanted 000", sha256="0" * 64)
    with pytest.raises(ValueError, match="sha256"):
        lpips.Config(weights=str(lpips_file), sha256="397923af")


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("nowhere.safetensors", "no weights at nowhere.safetensors"),
        ("owner/name", "no weights at owner/name: .*hf:owner/name"),
        ("hf:owner/name", "hf:owner/name cannot be had"),
        ("hf:owner", "hf:owner cannot be had"),
        ("hf:owner/na me:x.safetensors", "cannot be had"),
    ],
)
def test_places_without_weights_are_refused_in_one_line(place: str, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        lpips.Config(weights=place).build(DataSpec(shape=(3, 64, 64)))
    assert "\n" not in str(caught.value)


def test_pickles_and_damaged_files_are_refused(tmp_path: Path) -> None:
    for name, says in (
        ("vgg.pth", "python -m vitrail.interop.checkpoint vgg.pth"),
        ("a.safetensors", "cannot be read"),
    ):
        (tmp_path / name).write_bytes(b"cos\nsystem\n")
        with pytest.raises(ModelError, match=says) as caught:
            lpips.Config(weights=str(tmp_path / name)).build(DataSpec(shape=(3, 64, 64)))
        assert "\n" not in str(caught.value)


def test_a_place_on_the_hub_is_read_from_the_local_cache(
    lpips_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, repository = "0" * 40, tmp_path / "models--owner--name"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    for name in ("model.safetensors", "other.safetensors"):
        (repository / "snapshots" / commit / name).symlink_to(lpips_file)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    x_hat, x = _pair(3, 64, 64)
    places = (str(lpips_file), "hf:owner/name", "hf:owner/name:other.safetensors")
    found = [lpips.Config(weights=place).build(DataSpec(shape=(3, 64, 64)))(x_hat, x) for place in places]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
