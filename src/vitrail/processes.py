"""What several processes have together: sums, means and joined batches. Alone, everything is as it is."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from vitrail.errors import UsageError


def end_if_reimported() -> None:
    """End a child process that has come here by running the user's script a second time. Raises SystemExit.

    macOS and Windows start processes afresh (`spawn`): each imports the script that started it before it does its own work.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself tells it
        sys.exit(
            'vitrail: put the call of train under `if __name__ == "__main__":`, else every reader process trains too'
        )


def check_script() -> None:
    """Raise UsageError where processes are spawned and the user's script would train in each of them."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    if multiprocessing.get_start_method() == "fork" or script is None or not script.endswith(".py"):
        return
    if "__name__" not in Path(script).read_text(encoding="utf-8", errors="replace"):
        raise UsageError(
            f"{script} trains when it is imported, and each process that reads pictures imports it: put the call of train under "
            '`if __name__ == "__main__":`, or read without processes (data.workers=0)'
        )


def several() -> bool:
    """Whether there are other processes."""
    return dist.is_initialized() and dist.get_world_size() > 1


def summed(tensor: Tensor) -> Tensor:
    """The sum over all processes; the tensor itself where there is one."""
    if several():
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


def mean_of_all(tensor: Tensor) -> Tensor:
    """The mean over all processes, the same bits on each of them: for statistics that are kept. No gradient."""
    tensor = tensor.detach()
    return summed(tensor) / dist.get_world_size() if several() else tensor


def mean_of_rounds(seen: list[tuple[int, Tensor]]) -> Tensor | None:
    """The mean of (samples, value) over the samples of all rounds and processes; None where there are none. Empties the list."""
    if not seen:
        return None
    count = sum(samples for samples, _ in seen)
    mean = torch.stack([value * (samples / count) for samples, value in seen]).sum(0)
    seen.clear()
    return mean_of_all(mean)


def averaged(tensor: Tensor, everywhere: bool = True) -> Tensor:
    """The mean over all processes; the tensor itself where there is one, or where it is not wanted `everywhere`.

    Its gradient is that of the local part times the number of processes: once gradients are averaged over processes, they are those
    of one process with the whole batch. (An all-reduce in place of it has no gradient, or one that is counted twice.)
    """
    if not (everywhere and several()):
        return tensor
    own = tensor.detach()
    return tensor + (summed(own) / dist.get_world_size() - own)


def gathered(tensor: Tensor) -> Tensor:
    """(N, ...) of every process, joined in the order of ranks, which is the order of the global batch."""
    if several():
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor.contiguous())
        tensor = torch.cat(parts)
    return tensor


def of_first(tensor: Tensor) -> Tensor:
    """What the first process holds: a GPU does not add up twice in the same order, so others may differ in the last bit."""
    if several():
        tensor = tensor.contiguous()
        dist.broadcast(tensor, src=0)
    return tensor
