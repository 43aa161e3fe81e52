"""Crop, pad and stretch, and grey against RGB."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vitrail.data.resize import Fit, conform, middle, resize, to_channels

RNG = np.random.default_rng(0)
WIDE = RNG.integers(0, 256, (20, 40, 3), dtype=np.uint8)
TALL = WIDE.transpose(1, 0, 2)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("picture", [WIDE, TALL, WIDE[..., :1]])
@pytest.mark.parametrize("size", [(16, 16), (64, 64), (10, 30)])
def test_any_picture_gets_the_wanted_shape(fit: Fit, picture: np.ndarray, size: tuple[int, int]) -> None:
    assert conform(picture, (1, *size), fit).shape == (1, *size)
    assert conform(picture, (3, *size), fit).shape == (3, *size)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_picture_of_the_wanted_shape_is_left_alone(fit: Fit) -> None:
    assert np.array_equal(conform(WIDE, (3, 20, 40), fit), WIDE.transpose(2, 0, 1))


def test_crop_takes_the_middle() -> None:
    image = Image.fromarray(WIDE).crop((10, 0, 30, 20)).resize((10, 10), Image.Resampling.LANCZOS)
    close = np.abs(resize(WIDE, 10, 10, "crop")[:, 2:-2].astype(int) - np.asarray(image)[:, 2:-2])
    assert close.max() <= 1  # the border columns see the pixels beyond the cut
    assert np.array_equal(resize(WIDE, 20, 20, "crop"), WIDE[:, 10:30])
    assert middle(40, 20, 1.0) == (0, 10, 20, 30)
    assert middle(20, 40, 0.5) == (0, 0, 40, 20)


def test_pad_repeats_the_edges() -> None:
    padded = resize(WIDE, 40, 40, "pad")
    assert np.array_equal(padded[10:30], WIDE)
    assert (padded[:10] == WIDE[0]).all()
    assert (padded[30:] == WIDE[-1]).all()


def test_stretch_is_pillows_lanczos() -> None:
    image = Image.fromarray(WIDE).resize((15, 15), Image.Resampling.LANCZOS)
    assert np.array_equal(resize(WIDE, 15, 15, "stretch"), np.asarray(image))


def test_colours() -> None:
    grey = np.asarray(Image.fromarray(WIDE).convert("L"))
    assert np.array_equal(to_channels(WIDE, 1)[..., 0], grey)
    assert (to_channels(grey[..., None], 3) == grey[..., None]).all()
    assert to_channels(WIDE, 3) is WIDE
