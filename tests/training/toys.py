"""A small module to train in tests. As a program: train it in a folder, to be killed or run on two processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vitrail.errors import VitrailError
from vitrail.model.recipe import Stage, Training
from vitrail.training import budget, distributed, loop
from vitrail.training.job import Finished, Job, Losses, StepModule

BATCH = 8


@dataclass(frozen=True)
class Points:
    """Inputs (B, 1, 4, 4) and wanted outputs (B, 1)."""

    x: Tensor
    y: Tensor


class Toy(StepModule):
    """A convolution and two linear layers fit y = sin(sum x), with dropout and noise, and a running mean as buffer."""

    def __init__(self, dropout: float = 0.0, noise: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution = nn.Conv2d(1, 4, 3, padding=1)
            self.layers = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Dropout(dropout), nn.Linear(32, 1))
        self.noise = noise
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.seen: list[Tensor] = []

    def forward(self, batch: Points) -> Losses:
        h = self.convolution(batch.x)
        self.seen.append(h.detach().float().mean((0, 2, 3)))
        h = (h - self.mean[:, None, None]).relu().flatten(1)
        if self.noise:
            h = h + self.noise * torch.randn_like(h)
        error = (self.layers(h) - batch.y).square().squeeze(1)
        return Losses({"mse": error, "small": h.float().square().mean()}, {"y": batch.y.mean()})

    def after_step(self) -> None:
        now = torch.stack(self.seen).mean(0)
        self.seen.clear()
        if dist.is_initialized():
            dist.all_reduce(now)
            now /= dist.get_world_size()
        if now.isfinite().all():
            self.steps += 1
            self.mean.lerp_(now, 0.1)


def batches(start: int, poison: Callable[[int], bool] = lambda _: False) -> Iterator[Points]:
    """Batch k is a function of k; each process gets its slice of it. Poisoned ones hold an infinity."""
    ranks = distributed.current()
    share = BATCH // ranks.world
    step = start
    while True:
        x = torch.randn(BATCH, 1, 4, 4, generator=torch.Generator().manual_seed(step))
        y = x.sum((1, 2, 3))[:, None].sin()
        if poison(step):
            x[0, 0, 0, 0] = torch.inf
        rows = slice(ranks.rank * share, (ranks.rank + 1) * share)
        yield Points(x[rows], y[rows])
        step += 1


def job(module: StepModule, text: str, **changes: Any) -> Job:
    """A codec stage with the toy's batches; `stage` overrides its settings."""
    stage = {"batch": BATCH, "lr": 1e-2, "ema": 0.9, **changes.pop("stage", {})}
    fields = {"weights": {"small": 0.01}, "batches": batches, "samples": 80, **changes}
    return Job(name="codec", module=module, config=Stage(**stage), budget=budget.read(text), **fields)


def settings(**changes: Any) -> Training:
    """fp32 on one thread, so that nothing is measured, with a checkpoint every 10 steps and a log line every 4."""
    return Training(**{"precision": "fp32", "threads": 1, "checkpoint_steps": 10, "log": 4, **changes})


def train(folder: Path, steps: int, **changes: Any) -> Finished:
    """Train the noisy toy in a folder."""
    return loop.run(job(Toy(dropout=0.2, noise=0.1), f"{steps} steps", **changes), folder, settings())


def curve(folder: Path) -> list[dict[str, Any]]:
    """Lines of the log without wall-clock values."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def files(folder: Path) -> dict[str, bytes]:
    """The tensors of the newest checkpoint."""
    newest = max((folder / "checkpoints").iterdir())
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}


if __name__ == "__main__":
    folder, steps, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    with distributed.joined() as ranks:
        assert kind != "two" or ranks.world == 2
        try:
            if kind == "noisy":
                train(folder, steps)
            else:
                toy = Toy()
                loop.run(job(toy, f"{steps} steps", stage={"accumulate": 2}), folder, settings())
                torch.save({"mean": toy.mean, "world": ranks.world}, folder / f"rank{ranks.rank}.pt")
        except VitrailError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(error.exit_code)
