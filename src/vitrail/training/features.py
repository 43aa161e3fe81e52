"""Train the small feature net on one's own pictures, for metrics that ask how alike two sets are.

With labels it learns to tell the classes apart; without, how far a picture was turned (Gidaris et al. 2018).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from vitrail import durable
from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset
from vitrail.data.loader import Loader, in_order
from vitrail.errors import DataError, UsageError
from vitrail.metrics.protocol import installed_version
from vitrail.model.recipe import Stage, Training
from vitrail.networks.features import load_features, packed, small
from vitrail.training import budget as budgets
from vitrail.training import loop
from vitrail.training.job import Finished, Job, Losses, StepModule
from vitrail.training.journal import Show
from vitrail.types import Batch

Task = Literal["classes", "rotations"]
TURNS = 4  # quarters of a circle
STAGE = Stage(batch=128, lr=3e-3, warmup=0.2, weight_decay=0.05, ema=0.99)
SMOOTHING = 0.1  # of labels


@dataclass(frozen=True)
class FeaturesReport:
    """What `train_features` made."""

    path: Path
    sha256: str  # of the weights; scores carry it
    task: Task
    accuracy: float | None  # on the held-out pictures, of the task; None where there are none with a label
    steps: int
    seconds: float


def train_features(
    train: Dataset,
    heldout: Dataset,
    out: Path,
    *,
    budget: str = "3min",
    seed: int = 0,
    show: Show | None = None,
    training: Training | None = None,
) -> FeaturesReport:
    """Train a feature net and write it as the folder `out`, which `networks.features.load_features` reads.

    budget: as of a recipe, "3min" or "2000 steps". Interrupted, the same call goes on from a checkpoint beside `out`.
    training: precision, threads and checkpoints, by default measured and chosen; its seed and budget are not used.
    Raises UsageError where `out` exists, DataError where pictures are too small, Interrupted as `loop.run` does.
    """
    if out.exists():
        raise UsageError(f"{out} exists already; choose another place for the feature net, or delete it")
    task, config = suited(train)
    torch.manual_seed(seed)
    lesson = Lesson(config.build(), task)
    working = out.with_name(f"{out.name}.training")
    with durable.storing(working):
        working.mkdir(parents=True, exist_ok=True)
    settings = (training or Training()).model_copy(update={"seed": seed})
    finished = loop.run(_job(lesson, train, budget, seed), working, settings, show)
    learnt = finished.averaged
    assert isinstance(learnt, Lesson)
    accuracy = held_out_accuracy(learnt, heldout)
    record = _record(task, accuracy, train, heldout, budget, seed, finished)
    with durable.storing(out):
        durable.write_folder(out, packed(learnt.net, record))
    durable.remove_folder(working)
    return FeaturesReport(out, load_features(out).sha256, task, accuracy, finished.steps, finished.seconds)


def suited(train: Dataset) -> tuple[Task, small.Config]:
    """The task that the labels allow, and a net for pictures of this size.   Raises DataError on too small ones."""
    channels, *space = train.spec.shape
    if len(space) != 2 or min(space) < small.SMALLEST:
        raise DataError(f"a feature net wants pictures of at least 8 x 8, got (C, *S) = {train.spec.shape}")
    stages = min(max(math.ceil(math.log2(min(space) / 8)), 1), 6)
    known = train.labels[train.labels >= 0].unique()
    if len(known) < 2:
        return "rotations", small.Config(channels=channels, classes=TURNS, stages=stages)
    classes = max(len(train.spec.classes), int(known.max()) + 1)
    return "classes", small.Config(channels=channels, classes=classes, stages=stages)


class Lesson(StepModule):
    """The small net and the task it learns by."""

    def __init__(self, net: small.Small, task: Task) -> None:
        super().__init__()
        self.net = net
        self.task = task

    def forward(self, batch: Batch) -> Losses:
        x, answer = batch.x, batch.label
        if self.task == "rotations":
            x, answer = turned(x, torch.randint(TURNS, (len(x),)).to(x.device))
        logits = self.net.logits(x).float()
        loss = cross_entropy(logits, answer, reduction="none", label_smoothing=SMOOTHING, ignore_index=-1)
        return Losses({"classification": loss}, {"accuracy": (logits.argmax(1) == answer).float().mean()})

    def after_step(self) -> None:
        """Nothing: batch norm keeps its own averages."""


def turned(x: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """The middle square of each picture (B, C, H, W), turned by quarters of a circle, and the turns (B,)."""
    side = min(x.shape[2:])
    top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
    square = x[:, :, top : top + side, left : left + side]
    ways = torch.stack([square.rot90(turn, (2, 3)) for turn in range(TURNS)])
    return ways[turns, torch.arange(len(x), device=x.device)], turns


@torch.no_grad()
def held_out_accuracy(lesson: Lesson, heldout: Dataset) -> float | None:
    """Share of right answers in float32, over every labelled picture, or over all four turns of every picture."""
    lesson.eval()
    device = next(lesson.parameters()).device
    right, total = 0, 0
    for x, answer in _questions(lesson.task, heldout):
        guess = lesson.net.logits(x.to(device)).argmax(1).cpu()
        right += int((guess == answer).sum())
        total += int((answer >= 0).sum())
    return right / total if total else None


def _questions(task: Task, heldout: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in in_order(heldout, 256):
        if task == "classes":
            yield batch.x, batch.label
        else:
            for turn in range(TURNS):
                yield turned(batch.x, torch.full((len(batch.x),), turn))


def _job(lesson: Lesson, train: Dataset, budget: str, seed: int) -> Job:
    """One stage of the ordinary loop; pictures are moved by up to 1/28 of their side."""
    augment = DataConfig(shift=max(1, round(min(train.spec.space) / 28)))
    stage = STAGE.model_copy(update={"batch": min(STAGE.batch, len(train))})
    loader = Loader(train, stage.batch, seed, augment=augment, workers=2)
    return Job("features", lesson, loader.stream, stage, {}, budgets.read(budget), len(train))


def _record(
    task: Task, accuracy: float | None, train: Dataset, heldout: Dataset, budget: str, seed: int, finished: Finished
) -> Mapping[str, Any]:
    """How the net was made, for its config.json."""
    return {
        "task": task,
        "accuracy": accuracy,
        "train": {"samples": len(train), "fingerprint": train.fingerprint, "shape": train.spec.shape},
        "heldout": {"samples": len(heldout), "fingerprint": heldout.fingerprint},
        "classes": train.spec.classes,
        "budget": budget,
        "seed": seed,
        "steps": finished.steps,
        "seconds": round(finished.seconds, 1),
        "precision": finished.precision,
        "version": installed_version(),
    }
