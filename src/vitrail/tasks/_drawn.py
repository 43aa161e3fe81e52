"""Samples for `evaluate`: drawn block by block, of which only features and recognised classes are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.model.model import Model
from vitrail.networks.features import FeatureNet
from vitrail.tasks._seen import in_8_bits, recognised
from vitrail.tasks.sample import used

BLOCK = 256  # samples in memory at a time


@dataclass(frozen=True)
class Drawn:
    """What was measured on N samples, numbers 0 ... N - 1 of a seed, the classes or the hints in turn."""

    features: Tensor  # (N, D)
    labels: Tensor  # (N,) class that was asked for, -1 for none
    recognised: Tensor | None  # (N,) as a classifier says
    settings: dict[str, Any]  # of the sampler


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
    """Draw `count` samples and look at them through a feature net; where the prior wants hints, of the data's pictures in turn."""
    kept, guesses, labels = [], [], []
    for first in range(0, count, BLOCK):
        n = min(BLOCK, count - first)
        x = in_8_bits(model.sample(n, seed=seed, first=first, condition=hints(model, data, first, n, seed), **settings))
        kept.append(features.features(x).cpu())
        labels.append(model.labels(None, range(first, first + n)))
        if (guess := recognised(features, x)) is not None:
            guesses.append(guess.cpu())
        report(first + n)
    return Drawn(
        torch.cat(kept), torch.cat(labels), torch.cat(guesses) if guesses else None, used(model, dict(settings))
    )


def hints(model: Model, data: Dataset, first: int, n: int, seed: int) -> Tensor | None:
    """(n, C, H, W): degraded pictures of the data for the samples with these numbers; None where the prior wants none."""
    if model.prior is None or not model.prior.conditional:
        return None
    pixels, _ = data.readable(np.arange(first, first + n) % len(data))
    return model.hint(torch.from_numpy(pixels), seed, first)
