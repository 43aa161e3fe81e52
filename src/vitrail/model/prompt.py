"""What a user writes for a model that was trained on captions, as its prior is given it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vitrail.data import captions
from vitrail.errors import UsageError
from vitrail.priors._prior import Prior

Prompt = str | Sequence[str] | None


def listed(prompt: Prompt, n: int) -> tuple[str, ...]:
    """The texts: none, one for all samples, or one for each of n. Raises UsageError for another number of them."""
    if prompt is None:
        return ()
    texts = (prompt,) if isinstance(prompt, str) else tuple(prompt)
    if len(texts) not in (1, n):
        raise UsageError(f"wants one prompt, or one for each of {n} samples, got {len(texts)}")
    return texts


def tokens(prior: Prior, prompt: Prompt, n: int) -> Tensor | None:
    """(1 or n, T) int64, None where nothing was written. Raises UsageError where the prior reads no captions."""
    texts = listed(prompt, n)
    if not texts:
        return None
    if not prior.captions:
        raise UsageError(
            "this model's prior reads no captions; leave the prompt out, or train one with data.captions=64"
        )
    return captions.tokens(texts, prior.captions)
