"""A transformer that predicts codes one after another in any order: each token also says which place comes next.

Sources: sigma-GPT (Pannatier et al. 2024); random orders for pictures, RAR (Yu et al. 2024). Several codes may be drawn at once,
and what has been read is kept, so that all of a drawing costs less than two passes over the codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vitrail.networks.rms_norm import RMSNorm
from vitrail.networks.scattered import Scattered
from vitrail.priors import _codes
from vitrail.priors._prior import Prior, Request, forgetful, unconditional
from vitrail.samplers.discrete import masked as sampler
from vitrail.samplers.discrete.autoregressive import guided
from vitrail.types import Latent, LatentSpec


class Settings(_codes.Settings):
    """How to draw."""

    order: Literal["halton", "raster", "random"] = Field(
        "random", description="which codes come next: any, as in training, spread evenly, or row by row"
    )
    steps: int | None = Field(None, ge=1, description="calls of the network, few codes first; null: one code at a time")


class Config(_codes.Config):
    """Transformer over codes in any order."""

    sampling: Settings = Field(Settings(), description="how to draw when the user says nothing")

    def build(self, spec: LatentSpec, classes: int, conditional: bool = False) -> Prior:
        unconditional(self, conditional)
        _codes.check_codes(self, spec)
        return AnyOrder(self, spec, classes)


class AnyOrder(Prior):
    """p(codes | class) = prod_t p(code at order_t | codes at order_1 ... order_t-1, class), for every order.

    Each order is a model of its own, though one network: what they say of the same codes agrees only as far as training got.
    """

    trains = True
    discrete = True
    infills = True
    likelihood = "exact"

    def __init__(self, config: Config, spec: LatentSpec, classes: int) -> None:
        super().__init__()
        self.config, self.spec, self.classes = config, spec, classes
        grid = (*spec.grid, spec.levels)
        self.length = prod(grid)
        self.start = nn.Embedding(classes + 1, config.width)  # its last row stands for "no class"
        self.code = nn.Embedding(spec.size * spec.levels, config.width)
        self.place = nn.Parameter(0.02 * torch.randn(self.length, config.width))  # of the token itself
        self.next = nn.Parameter(0.02 * torch.randn(self.length, config.width))  # of the one to predict
        self.transformer = Scattered(
            config.width, config.depth, config.heads, grid, rotate=config.rotary, dropout=config.dropout or 0.0
        )
        self.norm = RMSNorm(config.width)
        self.head = nn.Linear(config.width, spec.size, bias=False)
        for embedding in (self.start, self.code):
            nn.init.normal_(embedding.weight, std=0.02)
        nn.init.zeros_(self.head.weight)  # the first loss is log K exactly

    def terms(self, latent: Latent, label: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """`nats`: mean negative log-likelihood of a code, in an order of its own for every sample; where it is judged, in raster
        order, as autoregressive priors have it."""
        assert latent.codes is not None
        tokens = _codes.flat(latent.codes)
        order = self.raster(tokens)
        if self.training:
            order = torch.rand(tokens.shape, device=tokens.device).argsort(dim=1)
            label, _ = forgetful(label, None, self.config.label_dropout)
        return {"nats": self.surprise(tokens, label, order).mean()}

    @torch.no_grad()
    def nats(self, latent: Latent, label: Tensor, seed: int, numbers: Sequence[int]) -> Tensor:
        """Exact for the model that draws in raster order."""
        assert latent.codes is not None
        tokens = _codes.flat(latent.codes)
        return self.surprise(tokens, label, self.raster(tokens)).double().sum(1)

    def surprise(self, tokens: Tensor, label: Tensor, order: Tensor) -> Tensor:
        """Nats (B, T) of tokens (B, T), taken in the order (B, T) of places."""
        taken = tokens.gather(1, order)
        inputs, own = self.inputs(taken[:, :-1], order, label)
        causal = torch.ones(self.length, self.length, dtype=torch.bool, device=tokens.device).tril()
        states = self.norm(self.transformer(inputs + self.next[order], own, causal, towards=order))
        return _codes.surprise(self.head, states.flatten(0, 1), taken.flatten()).view_as(tokens)

    def inputs(self, taken: Tensor, order: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The class, then tokens (B, N) taken in order: what is read of them (B, 1 + N, D), and where they lie (B, 1 + N)."""
        places = order[:, : taken.shape[1]]
        codes = self.code(taken + places % self.spec.levels * self.spec.size) + self.place[places]
        start = self.start(label.where(label >= 0, self.classes)).unsqueeze(1)
        nowhere = places.new_full((len(places), 1), self.length)
        return torch.cat([start, codes], dim=1), torch.cat([nowhere, places], dim=1)

    def raster(self, tokens: Tensor) -> Tensor:
        """(B, T): the places in raster order."""
        return torch.arange(self.length, device=tokens.device).expand_as(tokens)

    def room(self, grid: tuple[int, ...]) -> int:
        return 2 * self.length

    def _draw(self, request: Request) -> Tensor:
        _codes.check_grid("any-order", self.spec, request.grid)
        nothing = request.label.new_full((len(request.label), self.spec.levels, *self.spec.grid), -1)
        return self._infill(request, nothing)

    def _infill(self, request: Request, known: Tensor) -> Tensor:
        """Known codes are read first, in raster order; rows with as many of them are drawn together."""
        assert isinstance(request.settings, Settings)
        _codes.check_known("any-order", self.spec, known, False)
        tokens = _codes.flat(known)
        uniform = request.uniform((1, 2, self.length))
        counts = (tokens >= 0).sum(1)
        filled = tokens.clone()
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero().squeeze(1)
            filled[rows] = self._filled(tokens[rows], request.label[rows], uniform[rows], request.settings)
        return _codes.unflat(filled, self.spec.grid, self.spec.levels)

    def _filled(self, tokens: Tensor, label: Tensor, uniform: Tensor, settings: Settings) -> Tensor:
        """tokens (B, T) with every -1 filled in, as many in each row."""
        order = {"halton": sampler.halton(self.spec.grid, self.spec.levels), "raster": torch.arange(self.length)}
        far = settings.guidance != 1 and self.classes > 0
        walk = Walk(self, torch.cat([label, torch.full_like(label, -1)]) if far else label, tokens)

        def logits(tokens: Tensor, places: Tensor, share: Tensor) -> Tensor:
            if not far:
                return walk.step(tokens, places)
            return guided(walk.step(tokens.repeat(2, 1), places.repeat(2, 1)), settings.guidance)

        return sampler.sample(
            logits,
            tokens,
            uniform,
            order=order.get(settings.order, "shuffled"),
            steps=settings.steps or self.length,
            **settings.choice,
        )


class Walk:
    """Codes in the order in which they are asked for; keys and values of what was read are kept, so that it is read once.

    All rows have as many known codes at every step.
    """

    def __init__(self, prior: AnyOrder, label: Tensor, known: Tensor) -> None:
        self.prior, self.label = prior, label
        self.cache = prior.transformer.cache(len(label), 2 * prior.length)
        gaps = (known < 0).byte()
        count = int((1 - gaps[0]).sum()) if len(gaps) else 0
        order = gaps.argsort(dim=1, stable=True)[:, :count]
        self.order = order.repeat(len(label) // max(1, len(known)), 1)  # places known by now, as they came

    def step(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Logits (B, N, K) at places (B, N), given tokens (B, T) at all those known by now and asked for earlier.

        What was not yet read goes in, each token looking at the one after it and the last at the first place; then the last once
        more for every other place, reading what that one reads but for itself, and forgotten afterwards.
        """
        prior, seen = self.prior, self.cache.length
        inputs, own = prior.inputs(tokens.gather(1, self.order), self.order, self.label)
        new, beside = inputs.shape[1] - seen, places.shape[1] - 1
        x = torch.cat([inputs[:, seen:], inputs[:, -1:].repeat(1, beside, 1)], dim=1)
        own = torch.cat([own[:, seen:], own[:, -1:].repeat(1, beside)], dim=1)
        self.order = torch.cat([self.order, places], dim=1)
        towards = self.order[:, seen:]
        states = prior.transformer(
            x + prior.next[towards], own, _reads(seen, new, beside, x.device), towards=towards, cache=self.cache
        )
        self.cache.length = seen + new
        return prior.head(prior.norm(states[:, new - 1 :]))


def _reads(seen: int, new: int, beside: int, device: torch.device) -> Tensor:
    """(new + beside, seen + new + beside): `new` tokens read all before them and themselves, the others what the last of these
    reads, with themselves in its place."""
    mask = torch.ones(new + beside, seen + new + beside, dtype=torch.bool, device=device).tril(seen)
    mask[new:, seen + new - 1 :] = torch.eye(beside, 1 + beside, dtype=torch.bool, device=device).roll(1, 1)
    return mask
