"""Black or white by chance: the right share, the right reasons to differ, and the same pictures for whoever judges."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.data.augmentation import binarised
from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_dataset, open_parts
from vitrail.data.loader import Loader, in_order
from vitrail.data.noise import bits

BINARY = DataConfig(binarise=True)
COUNT, BATCH = 30, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grey")
    for i in range(COUNT):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (6, 5), dtype=np.uint8)).save(path / f"{i}.png")
    return path


@pytest.fixture(scope="module", params=["memory", "disk"])
def dataset(request: pytest.FixtureRequest, folder: Path) -> Dataset:
    config = BINARY.model_copy(update={"memory": 1.0 if request.param == "memory" else 1e-9})
    return open_dataset(str(folder), config, "all")


def test_a_value_is_1_with_the_probability_of_its_brightness() -> None:
    x = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16), (20_000, 1, 1, 1))
    drawn = bits(0, np.arange(len(x)), np.zeros(len(x), dtype=np.int64))
    found = binarised(x, drawn)
    assert set(np.unique(found).tolist()) == {0, 255}
    share = (found == 255).mean(0).ravel()
    assert share[0] == 0
    assert share[255] == 1
    assert np.abs(share - np.arange(256) / 255).max() < 5 * 0.5 / np.sqrt(len(x))


def test_neighbours_are_independent() -> None:
    """Of an odd number of values too, which leaves half a word over."""
    x = np.full((20_000, 1, 3, 3), 128, dtype=np.uint8)
    found = binarised(x, bits(1, np.arange(len(x)), np.zeros(len(x), dtype=np.int64))).reshape(len(x), -1) > 0
    correlation = np.corrcoef(found.T) - np.eye(9)
    assert np.abs(correlation).max() < 5 / np.sqrt(len(x))


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_restarts_change_nothing(dataset: Dataset, workers: int) -> None:
    config = DataConfig(binarise=True, flip=True, shift=1)
    known = Loader(dataset, BATCH, 5, augment=config, workers=0)
    for start in (0, 3):
        stream = Loader(dataset, BATCH, 5, augment=config, workers=workers).stream(start)
        for step, batch in enumerate(itertools.islice(stream, 4), start=start):
            assert torch.equal(batch.x, known.batch_at(step).x)
            assert set(batch.x.unique().tolist()) == {0.0, 1.0}


def test_training_sees_new_pictures_in_every_epoch_and_with_every_seed(dataset: Dataset) -> None:
    def epoch(loader: Loader, number: int) -> torch.Tensor:
        batch = loader.batch_at(number)
        return batch.x[batch.index.argsort()]

    first, second = (Loader(dataset, COUNT, seed, augment=BINARY) for seed in (0, 1))
    assert not torch.equal(epoch(first, 0), epoch(first, 1))
    assert not torch.equal(epoch(first, 0), epoch(second, 0))
    small = torch.cat([Loader(dataset, 10, 0, augment=BINARY).batch_at(step).x for step in range(3)])
    assert torch.equal(small, first.batch_at(0).x)


def test_judges_always_see_the_same_pictures(dataset: Dataset) -> None:
    whole = torch.cat([batch.x for batch in in_order(dataset, 7)])
    assert set(whole.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(torch.cat([batch.x for batch in in_order(dataset, COUNT)]), whole)
    index = np.array([4, 29, 0])
    assert torch.equal(dataset.images(index).float() / 255, whole[index])
    assert np.array_equal(dataset.readable(index)[0], 255 * whole[index].numpy())
    plain = Loader(dataset, COUNT, 9, augment=None).batch_at(0)  # nothing is to differ between epochs
    assert torch.equal(plain.x, whole[plain.index])


def test_the_fingerprint_tells_black_and_white_from_grey(folder: Path) -> None:
    grey, binary = (open_parts(str(folder), config)[1] for config in (DataConfig(), BINARY))
    assert grey.fingerprint != binary.fingerprint
    assert not grey.binarise


def test_it_is_cheap() -> None:
    x, index = np.full((128, 1, 28, 28), 100, dtype=np.uint8), np.arange(128)
    seconds = []
    for step in range(20):
        start = time.perf_counter()
        binarised(x, bits(0, index, np.full(128, step)))
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 4e-3
