"""Contracts that every degradation keeps, and what is particular to each."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from scipy import ndimage
from torch import Tensor

from vitrail import catalog
from vitrail.data.degradations import blur, downscale, jpeg, mask, noise
from vitrail.data.noise import generators
from vitrail.errors import UsageError

FOLDER = "data/degradations"
NAMES = catalog.names(FOLDER)
GENERAL = tuple(name for name in NAMES if name != "jpeg")


def pictures(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_shape_range_and_change(name: str, channels: int) -> None:
    x = pictures(4, channels, 13, 17)
    before = x.clone()
    y = catalog.find(FOLDER, name).Config().build()(x, generators(0, range(4), 0))
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert 0 <= y.min() <= y.max() <= 1
    assert all(not torch.equal(a, b) for a, b in zip(x, y, strict=True))
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    spoil = catalog.find(FOLDER, name).Config().build()
    x = pictures(9, 3, 16, 16)
    together = spoil(x, generators(4, range(9), 7))
    for i in (0, 5, 8):
        assert torch.equal(spoil(x[i : i + 1], generators(4, [i], 7))[0], together[i])
    assert torch.equal(spoil(x[3:7], generators(4, range(3, 7), 7)), together[3:7])


@pytest.mark.parametrize("name", NAMES)
def test_seed_and_epoch_change_the_outcome(name: str) -> None:
    spoil = catalog.find(FOLDER, name).Config().build()
    x = pictures(16, 1, 16, 16)
    first, again, other, later = (
        spoil(x, generators(seed, range(16), epoch)) for seed, epoch in ((0, 0), (0, 0), (1, 0), (0, 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, later)


@pytest.mark.parametrize("space", [(40,), (9, 11), (5, 6, 7)])
@pytest.mark.parametrize("name", GENERAL)
def test_one_to_three_axes(name: str, space: tuple[int, ...]) -> None:
    x = pictures(3, 2, *space)
    assert catalog.find(FOLDER, name).Config().build()(x, generators(0, range(3), 0)).shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_travels_to_processes_and_prints(name: str) -> None:
    config = catalog.find(FOLDER, name).Config()
    x = pictures(2, 1, 8, 8)
    there = pickle.loads(pickle.dumps(config.build()))
    assert torch.equal(there(x, generators(0, [0, 1], 0)), config.build()(x, generators(0, [0, 1], 0)))
    assert config.printed()["name"] == name


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        (noise, {"sigma": (0.3, 0.1)}),
        (noise, {"sigma": (-0.1, 0.1)}),
        (blur, {"sigma": (2, 1)}),
        (mask, {"share": (0.1, 1.5)}),
        (mask, {"kind": "stripes"}),
        (jpeg, {"quality": (0, 50)}),
        (downscale, {"factor": 1}),
        (downscale, {"factors": 2}),
    ],
)
def test_wrong_settings_are_refused(part: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        part.Config(**fields)


def test_noise_has_the_wanted_strength() -> None:
    x = torch.full((8, 1, 64, 64), 0.5)
    y = noise.Config(sigma=(0.05, 0.05)).build()(x, generators(0, range(8), 0))
    assert y.std().item() == pytest.approx(0.05, rel=0.02)
    assert y.mean().item() == pytest.approx(0.5, abs=0.002)


def test_patches_hide_exactly_the_wanted_share() -> None:
    x = torch.ones(4, 1, 32, 32)
    for side in (1, 4):
        config = mask.Config(kind="patches", share=(0.25, 0.25), patch=side, fill=0)
        y = config.build()(x, generators(0, range(4), 0))
        assert (y == 0).flatten(1).float().mean(1).tolist() == [0.25] * 4
        cells = y.unfold(2, side, side).unfold(3, side, side).flatten(-2)
        assert (cells.amin(-1) == cells.amax(-1)).all()


def test_boxes_hide_about_the_wanted_share() -> None:
    y = mask.Config(share=(0.3, 0.3), fill=0).build()(torch.ones(200, 1, 64, 64), generators(0, range(200), 0))
    hidden = (y == 0).flatten(1).float().mean(1)
    assert hidden.mean().item() == pytest.approx(0.3, abs=0.01)
    assert hidden.std() < 0.02
    rows, columns = (y[7, 0] == 0).any(1).sum(), (y[7, 0] == 0).any(0).sum()
    assert rows * columns == (y[7, 0] == 0).sum()


def test_blur_is_scipys_gaussian() -> None:
    x = pictures(2, 1, 20, 24)
    y = blur.Config(sigma=(1.5, 1.5)).build()(x, generators(0, [0, 1], 0))
    reach = round(blur.REACH * 1.5 + 0.5)
    known = ndimage.gaussian_filter(x.numpy(), (0, 0, 1.5, 1.5), mode="nearest", radius=(0, 0, reach, reach))
    assert np.abs(y.numpy() - known).max() < 1e-5
    assert torch.allclose(blur.Config(sigma=(0, 0)).build()(x, generators(0, [0, 1], 0)), x)


def test_downscale_averages_blocks() -> None:
    x = pictures(1, 1, 16, 16)
    small = x.view(1, 1, 4, 4, 4, 4).mean((3, 5))
    known = torch.nn.functional.interpolate(small, size=(16, 16), mode="bilinear")
    y = downscale.Config(factor=4, least=4).build()(x, generators(0, [0], 0))
    assert torch.allclose(y, known, atol=1e-6)


def test_jpeg_is_pillows_and_for_pictures_only() -> None:
    x = pictures(1, 3, 16, 16)
    file = io.BytesIO()
    Image.fromarray((x[0].permute(1, 2, 0) * 255).round().byte().numpy()).save(file, "JPEG", quality=30)
    y = jpeg.Config(quality=(30, 30)).build()(x, generators(0, [0], 0))
    assert np.array_equal((y[0].permute(1, 2, 0) * 255).round().numpy(), np.asarray(Image.open(file)))
    with pytest.raises(UsageError, match="wants pictures"):
        jpeg.Config().build()(pictures(1, 2, 16), generators(0, [0], 0))
