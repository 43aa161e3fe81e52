"""Tokens per second of autoregressive sampling with the key-value cache, against the same net without it.

    python benchmarks/kv_cache.py [--tokens 256] [--batches 1 16 64]

The net is the prior of the `vqvae` recipe over a square grid of codes, in float32, with random weights. Without the
cache every step runs the net over the whole prefix and reads the logits of its last position only. Both get the same
noise; in float64, where rounding cannot tip a draw, they must give the same tokens. Bar: 8 times at 256 tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import torch
from measuring import Figure, finish, interleaved, measured, options, ratios
from torch import Tensor

import vitrail
from vitrail.priors.autoregressive import Autoregressive
from vitrail.samplers import noise
from vitrail.samplers.discrete import autoregressive as sampler
from vitrail.types import LatentSpec

CODES = 512
CLASSES = 10
Step = Callable[[Tensor | None], Tensor]


def prior_over(tokens: int) -> Autoregressive:
    """The recipe's prior over a square grid, its zero-initialised layers made random so that every part counts."""
    side = math.isqrt(tokens)
    prior = vitrail.recipe("vqvae").prior.build(LatentSpec((16, side, side), levels=1, size=CODES), CLASSES)
    generator = torch.Generator().manual_seed(0)
    for weight in prior.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=weight.shape[-1] ** -0.5, generator=generator)
    return prior.eval()


def without_cache(prior: Autoregressive, label: Tensor) -> Step:
    """What `prior.stepper` gives, without a cache: all tokens so far go through the net again."""
    prefix = [prior.start(label)]

    def step(token: Tensor | None) -> Tensor:
        if token is not None:
            prefix.append(prior.code(token))
        x = torch.stack(prefix, dim=1)  # (B, T, D)
        hidden = prior.transformer(x + prior.place[: x.shape[1]])
        return prior.head(prior.norm(hidden[:, -1]))

    return step


@torch.inference_mode()
def draw(prior: Autoregressive, make: Callable[[Autoregressive, Tensor], Step], batch: int) -> Tensor:
    """Tokens (B, T) of samples 0 ... B - 1."""
    label = torch.arange(batch) % CLASSES
    return sampler.sample(make(prior, label), noise.uniform(0, range(batch), (prior.length,)))


def speed(prior: Autoregressive, make: Callable[[Autoregressive, Tensor], Step], batch: int) -> float:
    """Tokens per second."""
    started = time.perf_counter()
    drawn = draw(prior, make, batch)
    return drawn.numel() / (time.perf_counter() - started)


def equal(tokens: int, batch: int) -> Figure:
    """Share of equal tokens in float64: it has to be 1."""
    prior = prior_over(tokens).double()
    same = draw(prior, Autoregressive.stepper, batch) == draw(prior, without_cache, batch)
    return Figure("equal tokens in float64", float(same.double().mean()), relation="==", bar=1)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--tokens", type=int, default=256, help="a square number")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if asked.quick:
        asked.tokens, asked.batches, asked.rounds = 16, [2], 2
    prior, figures = prior_over(asked.tokens), [equal(asked.tokens, batch=4)]
    for batch in asked.batches:
        sides = {"with cache": Autoregressive.stepper, "without": without_cache}
        speed(prior, Autoregressive.stepper, batch)  # warm-up
        found = interleaved({name: partial(speed, prior, make, batch) for name, make in sides.items()}, asked.rounds)
        figures += [measured(f"batch {batch}, {name}", values, "tokens/s") for name, values in found.items()]
        gain = ratios(found["with cache"], found["without"])
        figures.append(measured(f"batch {batch}, gain", gain, "times", relation=">=", bar=8))
    finish("kv_cache", figures, asked.quick, tokens=asked.tokens, threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
