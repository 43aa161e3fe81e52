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


@pytest.mark.parametrize("share", [0.0, 1e-9, 0.999999])
def test_an_empty_part_is_refused_with_a_share_that_works(share: float) -> None:
    few = source(["a", "b", "c"])
    with pytest.raises(DataError, match=r"set data.heldout=") as refusal:
        split(few, share)
    wanted = float(str(refusal.value).partition("data.heldout=")[2].split()[0])
    train, heldout = split(few, wanted)
    assert len(train) > 0
    assert len(heldout) > 0


def test_one_sample_cannot_be_split() -> None:
    with pytest.raises(DataError, match="at least 2"):
        split(source(["a"]), 0.5)


def test_positions_are_the_same_on_every_machine() -> None:
    assert position("cat/1.png") == pytest.approx(0.10495169336472898, abs=1e-15)
