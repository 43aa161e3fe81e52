"""Inception score: how sure a classifier is of each sample, and how evenly it finds all classes.

It never looks at real pictures: memorised or collapsed ones within each class score as high as new ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.metrics.frechet import checked


@dataclass(frozen=True)
class InceptionScore:
    """Mean and spread over parts of the samples; between 1 and the number of classes."""

    mean: float
    std: float  # between parts, not of the mean
    splits: int


def inception_score(logits: Tensor, *, splits: int = 10, seed: int = 0) -> InceptionScore:
    """exp of the mean KL(p(y|x) || p(y)), in each of `splits` parts of the samples in random order.

    logits: (N, K), of any classifier.   Biased downwards by small parts, at most to their size: compare equal N and splits only.
    Raises UsageError on fewer than 2 samples a part, DataError on values that are not finite.
    Source: Salimans et al. 2016, section 4, with their 10 splits. Only with Inception's weights is it the score of the papers.
    """
    logits = checked(logits)
    if splits < 1 or len(logits) < 2 * splits:
        raise UsageError(f"{splits} splits need at least {2 * max(splits, 1)} samples, got {len(logits)}")
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed)).to(logits.device)
    parts = logits.log_softmax(1)[order].chunk(splits)
    scores = torch.stack([_score(part) for part in parts])
    std = float(scores.std()) if len(parts) > 1 else 0.0
    return InceptionScore(float(scores.mean()), std, len(parts))


def _score(log_p: Tensor) -> Tensor:
    """log p(y|x) (N, K) -> exp of the mean divergence from their mixture."""
    mixture = log_p.exp().mean(0)
    sure = (log_p.exp() * log_p).sum(1).mean()  # minus the mean entropy
    return (sure + torch.special.entr(mixture).sum()).exp()
