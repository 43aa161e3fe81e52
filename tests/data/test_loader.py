"""Batches are a pure function of (seed, step): same for any workers, ranks, starting point."""

from __future__ import annotations

import itertools
import pickle
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_dataset
from vitrail.data.loader import AHEAD, Loader, in_order
from vitrail.errors import DataError, UsageError
from vitrail.types import Batch

COUNT, BATCH = 50, 12
AUGMENT = DataConfig(flip=True, shift=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures")
    for i in range(COUNT):
        picture = np.random.default_rng(i).integers(0, 256, (10, 10, 3), dtype=np.uint8)
        (path / str(i % 2)).mkdir(exist_ok=True)
        Image.fromarray(picture).save(path / str(i % 2) / f"{i}.png")
    return path


@pytest.fixture(scope="module", params=["memory", "disk"])
def dataset(request: pytest.FixtureRequest, folder: Path) -> Dataset:
    return open_dataset(str(folder), DataConfig(memory=1 if request.param == "memory" else 1e-9), "all")


def take(loader: Loader, start: int, count: int) -> list[Batch]:
    stream = loader.stream(start)
    return list(itertools.islice(stream, count))


def same(a: Batch, b: Batch) -> bool:
    return torch.equal(a.x, b.x) and torch.equal(a.label, b.label) and torch.equal(a.index, b.index)


def test_batches_are_what_they_say(dataset: Dataset) -> None:
    batch = Loader(dataset, BATCH, 0).batch_at(3)
    assert batch.x.dtype == torch.float32
    assert torch.equal(batch.x, dataset.images(batch.index).float() / 255)
    assert torch.equal(batch.label, dataset.labels[batch.index])
    assert dataset.spec.classes == ("0", "1")


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_and_restarts_change_nothing(dataset: Dataset, workers: int) -> None:
    known = Loader(dataset, BATCH, 5, augment=AUGMENT, workers=0)
    loader = Loader(dataset, BATCH, 5, augment=AUGMENT, workers=workers)
    for start in (0, 4):
        for step, batch in enumerate(take(loader, start, 6), start=start):
            assert same(batch, known.batch_at(step))


def test_epochs_are_permutations_laid_end_to_end(dataset: Dataset) -> None:
    loader = Loader(dataset, BATCH, 1, workers=0)
    order = torch.cat([batch.index for batch in take(loader, 0, 25)]).view(6, COUNT)
    assert all(sorted(epoch.tolist()) == list(range(COUNT)) for epoch in order)
    assert len({tuple(epoch.tolist()) for epoch in order}) == 6
    assert not torch.equal(order[0], Loader(dataset, COUNT, 2).batch_at(0).index)


def test_a_batch_may_be_larger_than_the_set(dataset: Dataset) -> None:
    index = Loader(dataset, 3 * COUNT, 1).batch_at(2).index
    assert torch.equal(index.bincount(), torch.full((COUNT,), 3))


@pytest.mark.parametrize("world", [2, 3, 4])
def test_ranks_divide_the_global_batch(dataset: Dataset, world: int) -> None:
    whole = Loader(dataset, BATCH, 3, augment=AUGMENT).batch_at(7)
    slices = [Loader(dataset, BATCH, 3, augment=AUGMENT, rank=r, world=world).batch_at(7) for r in range(world)]
    assert torch.equal(torch.cat([part.x for part in slices]), whole.x)
    assert torch.equal(torch.cat([part.index for part in slices]), whole.index)


def test_a_batch_that_cannot_be_divided_is_refused(dataset: Dataset) -> None:
    with pytest.raises(UsageError, match="a batch of 12 cannot be cut into 5"):
        Loader(dataset, BATCH, 0, world=5)


def test_augmentation_belongs_to_seed_sample_and_epoch(dataset: Dataset) -> None:
    small, large = (Loader(dataset, batch, 3, augment=AUGMENT) for batch in (10, 25))
    assert torch.equal(
        torch.cat([small.batch_at(step).x for step in range(10)]),
        torch.cat([large.batch_at(step).x for step in range(4)]),
    )
    by_epoch = []
    for epoch in range(2):
        batches = [large.batch_at(2 * epoch + k) for k in range(2)]
        order = torch.cat([b.index for b in batches]).argsort()
        by_epoch.append(torch.cat([b.x for b in batches])[order])
    assert not torch.equal(by_epoch[0], by_epoch[1])


def test_augmentation_is_flips_and_shifts(dataset: Dataset) -> None:
    batch = Loader(dataset, 4 * COUNT, 3, augment=AUGMENT).batch_at(0)
    plain = dataset.images(batch.index).float() / 255
    wide = torch.nn.functional.pad(plain, (2, 2, 2, 2), mode="replicate")
    mirrored = torch.nn.functional.pad(plain.flip(-1), (2, 2, 2, 2), mode="replicate")
    candidates = torch.stack(
        [
            w[..., dy : dy + 10, dx : dx + 10]
            for w in (wide, mirrored)
            for dy, dx in itertools.product(range(5), repeat=2)
        ]
    )
    hits = (candidates == batch.x).flatten(2).all(-1)
    assert hits.sum(0).eq(1).all()
    assert hits.any(1).all(), "every flip and shift occurs"


def test_the_global_generators_are_left_alone(dataset: Dataset) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    take(Loader(dataset, BATCH, 0, augment=AUGMENT, workers=2), 0, 3)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])


def test_a_loader_travels_to_processes(dataset: Dataset) -> None:
    loader = Loader(dataset, BATCH, 3, augment=AUGMENT)
    assert same(pickle.loads(pickle.dumps(loader)).batch_at(2), loader.batch_at(2))


def test_closing_a_stream_ends_its_thread(folder: Path) -> None:
    dataset = open_dataset(str(folder), DataConfig(), "all")
    stream = Loader(dataset, BATCH, 0).stream()
    next(stream)
    assert any(thread.name == "vitrail-loader" for thread in threading.enumerate())
    stream.close()
    assert not any(thread.name == "vitrail-loader" for thread in threading.enumerate())


def test_a_fault_in_the_thread_reaches_the_consumer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Loader(open_dataset(str(folder), DataConfig(), "all"), BATCH, 0)

    def fail(step: int) -> Batch:
        raise DataError(f"step {step}")

    monkeypatch.setattr(loader, "batch_at", fail)
    with pytest.raises(DataError, match="step 4"):
        next(loader.stream(4))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_gone_bad_is_replaced_and_reported(tmp_path: Path, workers: int) -> None:
    for i in range(6):
        Image.fromarray(np.full((4, 4), 40 * i, np.uint8)).save(tmp_path / f"{i}.png")
    dataset = open_dataset(str(tmp_path), DataConfig(memory=1e-9), "all")
    (tmp_path / "2.png").write_bytes(b"")
    batch = take(Loader(dataset, 6, 0, workers=workers), 0, 1)[0]
    assert sorted(batch.index.tolist()) == [0, 1, 3, 3, 4, 5]
    assert torch.equal(batch.x[:, 0, 0, 0], (40 * batch.index / 255).float())
    assert [fault.path for fault in dataset.quarantine] == ["2.png"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_readers_outlive_a_signal_to_the_whole_terminal(folder: Path, number: signal.Signals) -> None:
    loader = Loader(open_dataset(str(folder), DataConfig(memory=1e-9), "all"), BATCH, 0, workers=2)
    before = set(psutil.Process().children())
    stream = loader.stream()
    first = [next(stream), next(stream)]  # one of each reader, which both are at work then
    readers = set(psutil.Process().children()) - before
    assert len(first) == len(readers) == 2
    for reader in readers:
        reader.send_signal(number)
    for step in range(2, 2 * AHEAD * len(readers)):
        assert same(next(stream), loader.batch_at(step))


def test_in_order_gives_every_sample_once(dataset: Dataset) -> None:
    batches = list(in_order(dataset, 16))
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(COUNT))
    assert len(batches[-1].x) == COUNT % 16


def test_augmented_batches_are_cheap() -> None:
    loader = Loader(open_dataset("glyphs:600", DataConfig(size=28), "train"), 256, 0, augment=AUGMENT)
    loader.batch_at(0)
    seconds = []
    for step in range(20):
        start = time.perf_counter()
        loader.batch_at(step)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 2e-3
