"""Small changes of pictures: of the size asked for, a function of the sample and epoch alone, and none where none is wanted."""

from __future__ import annotations

import numpy as np
import pytest

from vitrail.data import warping
from vitrail.data.augmentation import augmented, augments
from vitrail.data.config import DataConfig

STILL = {"turn": 0, "zoom": 0, "move": 0, "light": 0}


def spot(count: int = 64, side: int = 33, row: int = 16, column: int = 16) -> np.ndarray:
    """Pictures (B, 1, side, side) with one soft light spot."""
    y, x = np.mgrid[:side, :side]
    light = np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8.0)
    return np.repeat((255 * light).astype(np.uint8)[None, None], count, axis=0)


def changed(x: np.ndarray, epoch: int = 0, **settings: float) -> np.ndarray:
    index = np.arange(len(x))
    config = DataConfig(**{"augment": 1.0, **STILL, **settings})
    return augmented(x, config, 0, index, np.full_like(index, epoch))


def centres(x: np.ndarray) -> np.ndarray:
    """(B, 2) rows and columns of the middle of the light."""
    weight = x[:, 0].astype(float) / x.sum((1, 2, 3))[:, None, None]
    y, c = np.mgrid[: x.shape[2], : x.shape[3]]
    return np.stack([(weight * y).sum((1, 2)), (weight * c).sum((1, 2))], axis=1)


def test_nothing_is_changed_where_every_change_is_off() -> None:
    x = np.random.default_rng(0).integers(0, 256, (8, 3, 12, 17), dtype=np.uint8)
    assert np.abs(changed(x).astype(int) - x).max() <= 1  # rounding
    assert not augments(DataConfig())
    assert not augments(DataConfig(augment=0.0))
    assert augments(DataConfig(augment=0.1))


def test_a_sample_is_changed_alike_in_any_batch_and_otherwise_in_every_epoch() -> None:
    x = np.random.default_rng(1).integers(0, 256, (16, 1, 20, 20), dtype=np.uint8)
    config, index = DataConfig(augment=1.0), np.arange(16)
    whole = augmented(x, config, 3, index, np.zeros_like(index))
    part = augmented(x[5:9], config, 3, index[5:9], np.zeros_like(index[5:9]))
    assert np.array_equal(whole[5:9], part)
    assert not np.array_equal(whole, augmented(x, config, 3, index, np.ones_like(index)))
    assert not np.array_equal(whole, augmented(x, config, 4, index, np.zeros_like(index)))


def test_moves_are_as_large_as_asked_and_small_ones_more_frequent() -> None:
    moved = centres(changed(spot(512), move=0.1)) - 16
    assert 0.6 * 3.3 < np.abs(moved).max() <= 3.3 + 0.3
    assert np.abs(moved.mean(0)).max() < 0.25
    assert np.median(np.abs(moved)) < 0.4 * 3.3
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.15


def test_a_turn_moves_what_is_away_from_the_middle() -> None:
    turned = centres(changed(spot(256, column=26), turn=12.0)) - 16
    angle = np.degrees(np.arctan2(turned[:, 0], turned[:, 1]))
    assert 7 < np.abs(angle).max() < 13
    assert np.allclose(np.hypot(*turned.T), 10, atol=0.4)


def test_a_turn_of_a_picture_that_is_no_square_is_a_turn() -> None:
    y, x = np.mgrid[:24, :48]
    light = np.exp(-((y - 11.5) ** 2 + (x - 33.5) ** 2) / 6.0)
    turned = centres(changed(np.repeat((255 * light).astype(np.uint8)[None, None], 128, 0), turn=20.0))
    assert np.allclose(np.hypot(turned[:, 0] - 11.5, turned[:, 1] - 23.5), 10, atol=0.5)


def test_zoom_changes_the_scale_both_ways() -> None:
    away = centres(changed(spot(256, column=26), zoom=0.2))[:, 1] - 16
    assert away.min() < 9 < 11 < away.max()
    assert away.min() > 10 / 1.3
    assert away.max() < 10 * 1.3


def test_light_leaves_black_black_and_white_white() -> None:
    x = np.array([0, 128, 255], dtype=np.uint8).reshape(1, 1, 1, 3).repeat(64, 0)
    lit = changed(x, light=0.5)
    assert (lit[..., 0] == 0).all()
    assert (lit[..., 2] == 255).all()
    assert 70 < lit[..., 1].min() < 110
    assert 145 < lit[..., 1].max() < 190


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_strength_scales_every_change(strength: float) -> None:
    moved = np.abs(centres(changed(spot(256), augment=strength, move=0.2)) - 16).max()
    assert moved <= strength * 0.2 * 33 + 0.3


def test_draws_are_spread_as_a_difference_of_two_uniform_numbers() -> None:
    drawn = warping._spread(np.arange(20_000, dtype=np.uint64)).numpy()
    assert drawn.shape == (warping.DRAWS, 20_000)
    assert np.abs(drawn.mean(1)).max() < 0.02
    assert np.allclose(drawn.var(1), 1 / 6, atol=0.01)
    assert np.abs(np.corrcoef(drawn) - np.eye(warping.DRAWS)).max() < 0.03
