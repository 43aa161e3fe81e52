"""Samples for `evaluate`: drawn block by block, of which only features and recognised classes are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.model.given import given
from vitrail.model.model import Model
from vitrail.model.nearest import Looks, joined, looks
from vitrail.networks.features import FeatureNet
from vitrail.tasks._seen import classified, in_8_bits
from vitrail.tasks.sample import used

BLOCK = 256  # samples in memory at a time


@dataclass(frozen=True)
class Drawn:
    """What was measured on N samples, numbers 0 ... N - 1 of a seed, the classes, hints or captions in turn."""

    features: Tensor | None  # (N, D); None without a feature net
    labels: Tensor  # (N,) class that was asked for, -1 for none
    logits: Tensor | None  # (N, K) of a classifier
    settings: dict[str, Any]  # of the sampler
    looks: Looks | None  # of the first ones, as they are compared with training pictures
    seconds: float  # it took to draw them, decoding included


@torch.inference_mode()
def drawn(
    model: Model,
    features: FeatureNet | None,
    data: Dataset,
    count: int,
    seed: int,
    settings: Mapping[str, Any],
    report: Callable[[int], None],
    looked: int = 0,
) -> Drawn:
    """Draw `count` samples and look at them through a feature net, at the first `looked` also as they are; where the prior is given
    hints or captions, of the data's pictures in turn."""
    kept, judged, labels, shown, seconds = [], [], [], [], 0.0
    for first in range(0, count, BLOCK):
        n = min(BLOCK, count - first)
        told = given(model, data, first, n, seed)
        started = time.perf_counter()
        x = in_8_bits(model.sample(n, seed=seed, first=first, **told, **settings)).to(model.device)
        _wait(model)
        seconds += time.perf_counter() - started
        labels.append(model.labels(None, range(first, first + n), told=bool(told)))
        if first < looked:
            shown.append(looks(model, x[: looked - first]))
        if features is not None:
            found = features.features(x)
            kept.append(found.cpu())
            if (logits := classified(features, found)) is not None:
                judged.append(logits.float().cpu())
        report(first + n)
    return Drawn(
        features=torch.cat(kept) if kept else None,
        labels=torch.cat(labels),
        logits=torch.cat(judged) if judged else None,
        settings=used(model, dict(settings)),
        looks=joined(shown) if shown else None,
        seconds=seconds,
    )


def _wait(model: Model) -> None:
    """Until a GPU has done what it was told, so that time is that of the work."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
