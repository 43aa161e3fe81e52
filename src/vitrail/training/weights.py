"""Weighing loss terms: parts report them unweighted, the recipe says what each counts."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vitrail.errors import UsageError


def weigh(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Weighted sum of the terms' means; a term not named counts 1. Raises UsageError on a weight without a term."""
    if unknown := weights.keys() - terms.keys():
        raise UsageError(f"weights name {', '.join(sorted(unknown))}, but the terms are {', '.join(sorted(terms))}")
    loss, *others = (term.float().mean() * weights.get(name, 1.0) for name, term in terms.items())
    for other in others:
        loss = loss + other
    return loss
