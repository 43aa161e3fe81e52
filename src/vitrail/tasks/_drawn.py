"""Samples for `evaluate`: drawn block by block, of which only features and recognised classes are kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.model.model import Model
from vitrail.networks.features import FeatureNet
from vitrail.tasks._seen import classified, in_8_bits
from vitrail.tasks.sample import used

BLOCK = 256  # samples in memory at a time


@dataclass(frozen=True)
class Drawn:
    """What was measured on N samples, numbers 0 ... N - 1 of a seed, the classes, hints or captions in turn."""

    features: Tensor  # (N, D)
    labels: Tensor  # (N,) class that was asked for, -1 for none
    logits: Tensor | None  # (N, K) of a classifier
    settings: dict[str, Any]  # of the sampler
    seconds: float  # it took to draw them, decoding included


@torch.inference_mode()
def drawn(
    model: Model,
    features: FeatureNet,
    data: Dataset,
    count: int,
    seed: int,
    settings: Mapping[str, Any],
    report: Callable[[int], None],
) -> Drawn:
    """Draw `count` samples and look at them through a feature net; where the prior is given hints or captions, of the data's
    pictures in turn."""
    kept, judged, labels, seconds = [], [], [], 0.0
    for first in range(0, count, BLOCK):
        n = min(BLOCK, count - first)
        told = given(model, data, first, n, seed)
        started = time.perf_counter()
        x = in_8_bits(model.sample(n, seed=seed, first=first, **told, **settings)).to(model.device)
        _wait(model)
        seconds += time.perf_counter() - started
        found = features.features(x)
        kept.append(found.cpu())
        labels.append(model.labels(None, range(first, first + n), told=bool(told)))
        if (logits := classified(features, found)) is not None:
            judged.append(logits.float().cpu())
        report(first + n)
    logits = torch.cat(judged) if judged else None
    return Drawn(torch.cat(kept), torch.cat(labels), logits, used(model, dict(settings)), seconds)


def _wait(model: Model) -> None:
    """Until a GPU has done what it was told, so that time is that of the work."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def given(model: Model, data: Dataset, first: int, n: int, seed: int) -> dict[str, Any]:
    """What `sample` is told for the samples with these numbers: degraded pictures of the data, its captions, or nothing."""
    where = np.arange(first, first + n) % len(data)
    if model.prior is not None and model.prior.conditional:
        return {"condition": model.hint(torch.from_numpy(data.readable(where)[0]), seed, first)}
    if model.prior is not None and model.prior.captions and data.captions:
        return {"prompt": [data.captions[i] for i in where]}
    return {}
