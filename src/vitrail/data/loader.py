"""Batches for training, in an order that is a pure function of (seed, step), whoever prepares them.

Epoch e is a permutation keyed by (seed, e); batches run through the permutations laid end to end, so no sample is
dropped and a step's batch needs nothing but the step's number: that is what makes a resumed run exact.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from vitrail import processes
from vitrail.data.augmentation import augmented
from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset
from vitrail.data.noise import permutation
from vitrail.data.source import Pixels, Quarantined
from vitrail.errors import UsageError
from vitrail.types import Batch

AHEAD = 4  # batches prepared in advance
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Raw:
    """A batch as a reader process sends it: bytes, and what had to be set aside."""

    pixels: Tensor  # (B, C, H, W) uint8
    index: Tensor
    faults: tuple[Quarantined, ...]


class Loader:
    """Batches by step number.

    batch: samples per step over all ranks; each of `world` ranks gets its contiguous slice. augment: flips, shifts and
    `binarise`, None for none. workers: 0 makes each batch when it is asked for; otherwise in-memory data is prepared by a thread,
    other data by that many processes, with the same result. Raises UsageError where `world` does not divide the batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch: int,
        seed: int,
        *,
        augment: DataConfig | None = None,
        rank: int = 0,
        world: int = 1,
        workers: int = 2,
    ) -> None:
        if batch % world:
            raise UsageError(f"a batch of {batch} cannot be cut into {world} equal parts; use a multiple of {world}")
        self.dataset = dataset
        self.seed = seed
        self.augment = augment
        self.workers = workers
        self.batch = batch
        self.local = batch // world
        self.first = rank * self.local

    def positions(self, step: int) -> tuple[Positions, Positions]:
        """Position in the data set and epoch of each of this rank's samples of a step."""
        start = step * self.batch + self.first
        place = np.arange(start, start + self.local)
        epoch, within = place // len(self.dataset), place % len(self.dataset)
        index = np.empty_like(place)
        for each in np.unique(epoch):
            here = epoch == each
            index[here] = _order(self.seed, int(each), len(self.dataset))[within[here]]
        return index, epoch

    def batch_at(self, step: int) -> Batch:
        """The batch of one step."""
        return self._finished(self._raw(step))

    def stream(self, start_step: int = 0) -> Iterator[Batch]:
        """The batches from a step on, without end; close it (or let it go) to stop the preparation."""
        if not self.workers:
            return map(self.batch_at, count(start_step))
        if self.dataset.pixels is not None:
            return _ahead(map(self.batch_at, count(start_step)))
        return map(self._finished, self._from_processes(start_step))

    def _raw(self, step: int) -> _Raw:
        index, epoch = self.positions(step)
        anew = self.augment is not None and self.augment.binarise
        pixels, index = self.dataset.grey(index) if anew else self.dataset.readable(index)
        if self.augment is not None:
            pixels = augmented(pixels, self.augment, self.seed, index, epoch)
        return _Raw(torch.from_numpy(np.ascontiguousarray(pixels)), torch.from_numpy(index), self.dataset.quarantine)

    def _finished(self, raw: _Raw) -> Batch:
        self.dataset.set_aside(raw.faults)
        return _batch(self.dataset, raw.pixels.numpy(), raw.index)

    def _from_processes(self, start_step: int) -> Iterator[_Raw]:
        processes.check_script()
        steps: DataLoader[_Raw] = DataLoader(
            _Steps(self),
            batch_size=None,  # a step's number goes to a process, its whole batch comes back
            sampler=_From(start_step),
            num_workers=self.workers,
            prefetch_factor=AHEAD,
            collate_fn=_as_it_is,
            worker_init_fn=_leave_stopping_to_others,
            generator=torch.Generator(),  # otherwise it would draw from the global one
        )
        try:
            yield from steps
        except (RuntimeError, BrokenPipeError) as error:
            if "exited unexpectedly" not in str(error) and not isinstance(error, BrokenPipeError):
                raise
            raise UsageError(
                "a process that reads pictures ended by itself: memory ran out, or the script that trains lacks "
                '`if __name__ == "__main__":`; mend that, or read without processes (data.workers=0)'
            ) from None


def in_order(dataset: Dataset, batch: int) -> Iterator[Batch]:
    """Every sample once, in the data set's order, for evaluation; the last batch may be smaller."""
    for start in range(0, len(dataset), batch):
        pixels, index = dataset.readable(np.arange(start, min(start + batch, len(dataset))))
        yield _batch(dataset, pixels, torch.from_numpy(index))


def spread(dataset: Dataset, most: int) -> Batch | None:
    """So many samples, evenly spaced over the data set, as evaluation gets them; None where there are none."""
    if not len(dataset):
        return None
    count = min(len(dataset), most)
    pixels, index = dataset.readable(np.arange(count) * len(dataset) // count)
    return _batch(dataset, pixels, torch.from_numpy(index))


def _batch(dataset: Dataset, pixels: Pixels, index: Tensor) -> Batch:
    return Batch(unit(pixels), dataset.labels[index], index, dataset.text(index))


def unit(pixels: Pixels) -> Tensor:
    """0..255 to [0, 1] float32, exactly what `to_uint8` takes back."""
    return torch.from_numpy(np.divide(pixels, np.float32(255)))


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, size: int) -> Positions:
    return permutation(seed, epoch, size)


class _Steps(TorchDataset[_Raw]):
    """A loader seen as a table of batches, for reader processes."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __getitem__(self, step: int) -> _Raw:
        return self.loader._raw(step)


class _From(Sampler[int]):
    """The numbers of all steps from one on."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return count(self.start)


def _as_it_is(raw: Any) -> Any:
    return raw


def _leave_stopping_to_others(_: int) -> None:
    """Let a reader process outlive Ctrl-C and a closed terminal, which reach it too: training asks it for the last step."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, a few of them prepared by a thread while the consumer works."""
    ready: queue.Queue[Batch | Exception] = queue.Queue(maxsize=AHEAD)
    stop = threading.Event()

    def prepare() -> None:
        try:
            for batch in batches:
                if not _put(ready, batch, stop):
                    return
        except Exception as error:  # handed to the consumer, who raises it
            _put(ready, error, stop)

    thread = threading.Thread(target=prepare, name="vitrail-loader", daemon=True)
    thread.start()
    try:
        while True:
            batch = ready.get()
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        stop.set()
        thread.join()


def _put(ready: queue.Queue[Batch | Exception], item: Batch | Exception, stop: threading.Event) -> bool:
    """False where the consumer has gone."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False
