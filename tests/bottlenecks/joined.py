"""The batch entropy of one share of a batch and its gradient. As a program: on one of several processes."""

from __future__ import annotations

import sys
from pathlib import Path

import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor

from vitrail.bottlenecks import _bits

ROWS, BITS = 48, 7


def logits() -> Tensor:
    """(N, d)"""
    return 2 * torch.randn(ROWS, BITS, generator=torch.Generator().manual_seed(0))


def measured(rank: int = 0, world: int = 1) -> dict[str, Tensor]:
    share = ROWS // world
    own = logits()[rank * share : (rank + 1) * share].requires_grad_()
    entropy = _bits.batch_entropy(own, shared=world > 1)
    entropy.backward()
    assert own.grad is not None
    return {"entropy": entropy.detach(), "gradient": own.grad / world}  # what averaging over processes makes of it


if __name__ == "__main__":
    folder, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    safetensors.torch.save_file(measured(rank, world), folder / f"{rank}.safetensors")
    dist.destroy_process_group()
