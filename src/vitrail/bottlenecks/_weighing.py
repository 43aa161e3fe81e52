"""All codes weighed at once: softmax over scores, with no matrix of vectors times codes that outlives a chunk of rows.

A score is a product, query times key. A chunk's scores are made again when its gradient is due, so neither the way forward nor the
way back keeps them (Chen et al. 2016, "Training deep nets with sublinear memory cost").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from vitrail.networks.products import float32_products
from vitrail.processes import averaged

CHUNK = 1 << 22  # scores at a time, 16 MiB; a row is never cut
TINY = torch.finfo(torch.float32).tiny


def mixed(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """softmax(queries keys^T) values.  (N, A), (K, A), (K, D) -> (N, D), with gradients for all three."""
    return torch.cat([mixture for (mixture,) in _by_rows(_blended, queries, keys, values)])


def drawn(queries: Tensor, keys: Tensor, values: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """A relaxed draw (N, D) with log-probabilities queries keys^T, and which code (N,) was drawn.  Jang et al. 2017, eq. 2.

    The noise of each chunk has a seed of its own, drawn from torch's global generator as the noise of dropout is.
    """
    seeds = torch.randint(1 << 62, (-(-len(queries) // _rows(keys)),)).tolist()
    chunks = zip(queries.split(_rows(keys)), seeds, strict=True)
    parts = [Again.apply(partial(_relaxed, seed=seed), rows, keys, values, temperature) for rows, seed in chunks]
    mixtures, winners = zip(*parts, strict=True)
    return torch.cat(mixtures), torch.cat(winners)


def entropies(queries: Tensor, keys: Tensor, everywhere: bool) -> tuple[Tensor, Tensor]:
    """Of p = softmax(queries keys^T), nats: the entropy of each row (N,) and that of the mean row ().

    everywhere: the mean is that over all processes. Its gradient is the local rows' share times the number of processes, so that
    gradients averaged over processes are those of one process with the whole batch.
    """
    if torch.compiler.is_exporting():
        return queries.new_zeros(queries.shape[0]), queries.new_zeros(())  # an exported graph has no terms
    each, total = [], keys.new_zeros(len(keys))
    for few, shares in _by_rows(_uncertainty, queries, keys):
        each.append(few)
        total = total + shares  # at once, since the K numbers of all chunks together would be many
    mean = averaged(total / len(queries), everywhere)
    return torch.cat(each), -(mean * mean.clamp_min(TINY).log()).sum()


def indecision(vectors: Tensor, values: Tensor, table: Tensor, temperature: float, everywhere: bool) -> Tensor:
    """Mean entropy of which code a vector (..., C) goes to, less the entropy of which codes are gone to, nats; at best -ln K.

    values: (..., C), those of the nearest codes.   table: (K, C).   Yu et al. 2023, "Language model beats
    diffusion", section 3.1.
    """
    unit = spread(vectors, values, everywhere)
    each, together = entropies(*towards(vectors.flatten(0, -2), table, temperature * unit), everywhere)
    return each.mean() - together


def towards(vectors: Tensor, codebook: Tensor, temperature: Tensor | float) -> tuple[Tensor, Tensor]:
    """Queries (N, D + 1) and keys (K, D + 1) whose product is -|v - e|^2 / temperature, up to a constant of each vector.

    Both are moved to the middle of the codebook first, for precision; distances do not notice, so neither do gradients.
    """
    centre = codebook.detach().mean(0)
    codes = codebook - centre
    keys = torch.cat([2 * codes, -codes.square().sum(1, keepdim=True)], dim=1) / temperature
    return F.pad(vectors - centre, (0, 1), value=1.0), keys


@torch.no_grad()
def spread(vectors: Tensor, values: Tensor, everywhere: bool) -> Tensor:
    """Mean squared distance of vectors (..., C) to their codes' values: the unit of temperatures, whatever the data's scale.

    A mixture of K Gaussians fitted to the vectors has about the temperature 2 / C in this unit.
    """
    mean = (vectors - values).square().sum(-1).mean()
    return averaged(mean, everywhere).clamp_min(1e-8)


class Again(torch.autograd.Function):
    """A function of tensors that keeps its arguments only and runs again when its gradient is due.

    torch.utils.checkpoint does the same at the price of importing the compiler, seconds before the first step.
    """

    @staticmethod
    def forward(ctx: Any, function: Callable[..., tuple[Tensor, ...]], *arguments: Tensor) -> tuple[Tensor, ...]:
        ctx.function = function
        ctx.save_for_backward(*arguments)
        results = function(*arguments)
        ctx.mark_non_differentiable(*(result for result in results if not result.is_floating_point()))
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        leaves = [each.detach().requires_grad_(want) for each, want in zip(ctx.saved_tensors, wanted, strict=True)]
        with torch.enable_grad():
            results = ctx.function(*leaves)
        smooth = [i for i, result in enumerate(results) if result.requires_grad]
        torch.autograd.backward([results[i] for i in smooth], [gradients[i] for i in smooth])
        return None, *(leaf.grad for leaf in leaves)


def _by_rows(chunk: Callable[..., tuple[Tensor, ...]], queries: Tensor, keys: Tensor, *others: Tensor) -> Iterator[Any]:
    """What `chunk` makes of every few rows; only that is kept."""
    for rows in queries.split(_rows(keys)):
        yield Again.apply(chunk, rows, keys, *others)


def _rows(keys: Tensor) -> int:
    return max(1, CHUNK // len(keys))


def _scores(queries: Tensor, keys: Tensor) -> Tensor:
    with float32_products():
        return queries @ keys.T


def _blended(queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor]:
    return (_scores(queries, keys).softmax(1) @ values,)


def _relaxed(queries: Tensor, keys: Tensor, values: Tensor, temperature: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    scores = _scores(queries, keys)
    generator = torch.Generator(scores.device).manual_seed(seed)
    scores = scores - torch.empty_like(scores).exponential_(generator=generator).log()
    return (scores / temperature).softmax(1) @ values, scores.argmax(1)


def _uncertainty(queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Entropy of each row, sum of the rows."""
    logs = _scores(queries, keys).log_softmax(1)
    shares = logs.exp()
    return -(shares * logs).sum(1), shares.sum(0)
