"""Draw tokens one after another, each from the distribution given those before it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def sample(
    step: Callable[[Tensor | None], Tensor],
    noise: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """Tokens (B, T) for noise (B, T) of uniform float64 numbers in [0, 1).

    step(None) gives the logits (B, K) of the first token, step(token (B,)) those of the next one.
    Row b depends on noise[b] only, so a sample keeps its tokens whatever is drawn beside it.
    """
    token, tokens = None, []
    for column in noise.unbind(1):
        probabilities = truncated(step(token).double(), temperature, top_k, top_p)
        token = draw(probabilities, column)
        tokens.append(token)
    return torch.stack(tokens, dim=1)


def truncated(logits: Tensor, temperature: float, top_k: int | None, top_p: float | None) -> Tensor:
    """(B, K) logits -> probabilities of the tokens that stay; temperature 0 leaves only the likeliest.

    top_p keeps the smallest set of likeliest tokens whose probability reaches it.  Holtzman et al. 2020.
    """
    if temperature == 0:
        top_k, temperature = 1, 1.0
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        kept = logits.topk(top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, kept.indices, kept.values)
    probabilities = logits.softmax(-1)
    if top_p is not None and top_p < 1:
        falling, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = falling.cumsum(-1) - falling  # what is likelier than each token
        probabilities = probabilities.scatter(-1, order, falling.where(before < top_p, 0))
    return probabilities


def draw(probabilities: Tensor, noise: Tensor) -> Tensor:
    """(B, K) weights, (B,) uniform in [0, 1) -> (B,) tokens by the inverse of the cumulative distribution, in float64.

    float32 sums would favour common tokens.  Zheng et al. 2024, "Masked diffusion models are secretly time-agnostic".
    """
    cumulative = probabilities.double().cumsum(-1)
    threshold = noise.double().unsqueeze(-1) * cumulative[:, -1:]
    token = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)
    last = (probabilities > 0).long().cumsum(-1).argmax(-1)  # rounding may not run past the last possible token
    return torch.minimum(token, last)


def guided(logits: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance of stacked logits (2B, K), conditional above unconditional -> (B, K).  Ho & Salimans 2022, eq. 6."""
    conditional, unconditional = logits.chunk(2)
    return unconditional + scale * (conditional - unconditional)
