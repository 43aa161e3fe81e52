"""Several processes that train as one: joined by torchrun, averaged by DDP, and always of one mind.

All of them read and the first one writes the run folder, so it lies on a file system that they share.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from vitrail.errors import VitrailError

LAUNCHED = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}  # what a launcher sets for each process

PATIENCE = timedelta(days=1)  # for the first process, which encodes the data alone; a dead one is noticed at once
# Buffers stay as each process computes them; torch 2.13 renamed the argument.
NAMES = inspect.signature(DistributedDataParallel).parameters
OWN_BUFFERS: dict[str, Any] = {next(n for n in ("forward_sync_buffers", "broadcast_buffers") if n in NAMES): False}


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int = 0
    world: int = 1
    local: int = 0  # rank on this machine
    neighbours: int = 1  # processes on this machine

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """The device this process computes on."""
        return torch.device("cuda", self.local) if torch.cuda.is_available() else torch.device("cpu")

    def highest(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over all processes."""
        return self._reduced(values, dist.ReduceOp.MAX)

    def mean(self, values: Sequence[float]) -> list[float]:
        """The mean of each value over all processes."""
        return [value / self.world for value in self._reduced(values, dist.ReduceOp.SUM)]

    def _reduced(self, values: Sequence[float], operation: dist.ReduceOp.RedOpType) -> list[float]:
        if self.world == 1 or not values:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(shared, operation)
        return list(shared.tolist())

    def first_does(self, action: Callable[[], None]) -> None:
        """Run something on the first process while the others wait; if it fails there, no process goes on.

        Raises what the action raised; elsewhere VitrailError.
        """
        failure: Exception | None = None
        if self.first:
            try:
                action()
            except Exception as error:
                failure = error
        [failed] = self.highest([float(failure is not None)])
        if failure is not None:
            raise failure
        if failed:
            raise VitrailError("the first process failed; its own message says why")

    def average_gradients(self, module: nn.Module) -> nn.Module:
        """The module, wrapped so that `backward` averages gradients over processes; buffers are left alone."""
        if self.world == 1:
            return module
        return DistributedDataParallel(module, **OWN_BUFFERS, gradient_as_bucket_view=True)


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that torchrun started for as long as the block runs; alone where torchrun did not."""
    if dist.is_initialized() or LAUNCHED - os.environ.keys():
        yield current()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield current()
    finally:
        dist.destroy_process_group()


def current() -> Ranks:
    """This process's place, as `joined` left it."""
    if not dist.is_initialized():
        return Ranks()
    local, neighbours = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return Ranks(dist.get_rank(), dist.get_world_size(), local, neighbours)


@contextlib.contextmanager
def last_round_only(net: nn.Module, last: bool) -> Iterator[None]:
    """Exchange gradients only after the last round of an accumulated step."""
    with contextlib.nullcontext() if last or not isinstance(net, DistributedDataParallel) else net.no_sync():
        yield
