"""The held-out part: decided by names alone."""

from __future__ import annotations

import numpy as np
import pytest

from vitrail.data.source import Source, stored
from vitrail.data.split import position, split, whole
from vitrail.errors import DataError


def source(keys: list[str], test: bool = False) -> Source:
    pixels = np.arange(len(keys), dtype=np.uint8).reshape(-1, 1, 1, 1)
    part = stored(pixels, np.arange(len(keys)), keys)
    return Source("somewhere", part, part if test else None)


def test_adding_names_moves_none() -> None:
    few, many = [f"{i}.png" for i in range(0, 400, 2)], [f"{i}.png" for i in range(400)]
    train, heldout = split(source(few), 0.1)
    more_train, more_heldout = split(source(many), 0.1)
    assert set(train.keys) <= set(more_train.keys)
    assert set(heldout.keys) <= set(more_heldout.keys)


def test_parts_divide_the_whole_and_keep_its_order() -> None:
    keys = [f"{i:03d}" for i in range(200)]
    train, heldout = split(source(keys), 0.3)
    assert sorted(train.keys + heldout.keys) == keys
    assert list(train.keys) == sorted(train.keys)
    assert [train.read(i)[0, 0, 0] for i in range(5)] == train.labels[:5].tolist()
    assert all(int(key) == label for key, label in zip(heldout.keys, heldout.labels, strict=True))


def test_share_is_about_what_was_asked() -> None:
    _, heldout = split(source([str(i) for i in range(20_000)]), 0.05)
    assert len(heldout) == pytest.approx(1000, abs=4 * np.sqrt(950))


def test_the_sources_own_test_part_wins() -> None:
    own = source(["a", "b"], test=True)
    assert split(own, 0.5) == (own.train, own.test)
    assert len(whole(own)) == 4
    assert [int(whole(own).read(i)[0, 0, 0]) for i in range(4)] == [0, 1, 0, 1]


SHARES = (1e-9, 0.05, 0.5, 0.999999)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("count", [2, 3, 5, 20, 40, 100])
def test_neither_part_is_ever_empty(count: int, share: float) -> None:
    for draw in range(20):
        keys = [f"IMG_{1000 * draw + i:04d}.JPG" for i in range(count)]
        train, heldout = split(source(keys), share)
        assert len(train) > 0
        assert len(heldout) > 0
        assert sorted(train.keys + heldout.keys) == keys


@pytest.mark.parametrize("share", SHARES)
def test_the_choice_depends_on_names_alone(share: float) -> None:
    keys = [f"{i}.png" for i in range(12)]
    train, heldout = split(source(keys), share)
    turned_train, turned_heldout = split(source(keys[::-1]), share)
    assert set(heldout.keys) == set(turned_heldout.keys)
    assert set(train.keys) == set(turned_train.keys)


def test_of_a_small_set_the_name_nearest_to_the_share_is_held_out() -> None:
    keys = [f"{i}.png" for i in range(12)]
    by_position = sorted(keys, key=position)
    _, heldout = split(source(keys), 1e-9)
    train, _ = split(source(keys), 0.999999)
    assert heldout.keys == (by_position[0],)
    assert train.keys == (by_position[-1],)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 20, 40, 100])
def test_a_share_of_nothing_holds_none_out(count: int) -> None:
    keys = [f"{i}.png" for i in range(count)]
    train, heldout = split(source(keys), 0.0)
    assert list(train.keys) == keys
    assert len(heldout) == 0


@pytest.mark.parametrize("share", SHARES)
def test_one_sample_cannot_be_split(share: float) -> None:
    with pytest.raises(DataError, match=r"at least 2 are needed.*data.heldout=0"):
        split(source(["a"]), share)


def test_positions_are_the_same_on_every_machine() -> None:
    assert position("cat/1.png") == pytest.approx(0.10495169336472898, abs=1e-15)
