"""A transformer that predicts each code from those before it, given a class, the codes of a degraded picture, both or neither.

Source: VQ-VAE's prior (van den Oord et al. 2017) with the transformer of VQGAN (Esser et al. 2021), its conditions as a
prefix of codes (section 3.2) and its sliding window (section 3.3); classifier-free guidance by dropping labels in training
(Ho & Salimans 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.networks.rms_norm import RMSNorm
from vitrail.networks.transformer import Cache, Transformer
from vitrail.priors import _codes
from vitrail.priors import _window as windows
from vitrail.priors._prior import Prior, Request, forgetful
from vitrail.samplers.discrete import autoregressive as sampler
from vitrail.types import Latent, LatentSpec


class Settings(_codes.Settings):
    """How to draw."""

    hop: int = Field(1, ge=1, description="codes by which a sliding window moves: above 1 faster, and less central")


class Config(_codes.Config):
    """Transformer over codes."""

    window: int | None = Field(
        None,
        ge=1,
        description="side of the square of codes seen at once: learnt from random crops, slid over larger grids; null: the whole",
    )
    corruption: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the codes that are read in training and replaced by any others; may help with few samples",
    )
    sampling: Settings = Field(Settings(), description="how to draw when the user says nothing")

    def build(self, spec: LatentSpec, classes: int, conditional: bool = False) -> Prior:
        _codes.check_codes(self, spec)
        return Autoregressive(self, spec, classes, conditional)


class Autoregressive(Prior):
    """p(codes | class, hint) = prod_t p(code_t | codes before t, class, hint), row by row, level by level within a point.

    The transformer reads the hint's codes, where it is conditional, then the class, then the codes. Hint and code of one place
    have the same position. Its grid is the window: positions are those within it, wherever it lies.
    """

    trains = True
    discrete = True

    def __init__(self, config: Config, spec: LatentSpec, classes: int, conditional: bool = False) -> None:
        super().__init__()
        self.config, self.spec, self.classes, self.conditional = config, spec, classes, conditional
        self.window = tuple(min(config.window or side, side) for side in spec.grid)
        self.likelihood = "exact" if self.window == spec.grid and not conditional else "none"
        grid = (*self.window, spec.levels)
        self.length = prod(grid)  # tokens in a window
        # The first token is the class; the last row stands for "no class".
        self.start = nn.Embedding(classes + 1, config.width)
        self.code = nn.Embedding(spec.size * spec.levels, config.width)
        self.place = nn.Parameter(0.02 * torch.randn(self.length, config.width))  # of the token to predict
        self.transformer = Transformer(
            config.width,
            config.depth,
            config.heads,
            grid,
            causal=True,
            rotate=config.rotary,
            dropout=config.dropout or 0.0,
            rounds=1 + conditional,
        )
        self.norm = RMSNorm(config.width)
        self.head = nn.Linear(config.width, spec.size, bias=False)
        for embedding in (self.start, self.code):
            nn.init.normal_(embedding.weight, std=0.02)
        nn.init.zeros_(self.head.weight)  # the first loss is log K exactly
        if conditional:  # its last row stands for "no hint"
            self.hint = nn.Embedding(spec.size * spec.levels + 1, config.width)
            nn.init.normal_(self.hint.weight, std=0.02)

    def terms(self, latent: Latent, label: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """`nats`: mean negative log-likelihood of a code; of a crop where the window is smaller than the grid."""
        assert latent.codes is not None
        codes, condition = self._cropped(latent.codes, condition)
        tokens = self.tokens(codes)  # (B, T)
        label, condition = forgetful(label, condition, self.config.label_dropout if self.training else 0.0)
        return {"nats": self._surprise(tokens, label, condition).mean()}

    @torch.no_grad()
    def nats(self, latent: Latent, label: Tensor, seed: int, numbers: Sequence[int]) -> Tensor:
        """Of all codes of a sample. Raises UsageError where crops are all that the prior knows, and where it reads hints."""
        if self.conditional:
            raise UsageError("a prior that reads hints gives no likelihood; train one with condition=null")
        if self.window != self.spec.grid:
            sides = ["x".join(map(str, each)) for each in (self.window, self.spec.grid)]
            raise UsageError(
                f"a window of {sides[0]} on codes of {sides[1]} gives no likelihood; use prior.window=null"
            )
        assert latent.codes is not None
        return self._surprise(self.tokens(latent.codes), label).double().sum(1)

    def logits(self, tokens: Tensor, label: Tensor, condition: Tensor | None = None) -> Tensor:
        """tokens (B, T - 1) or fewer of a window, label (B,), condition (B, Q, *window) -> logits (B, T, K): position t from the
        tokens before it."""
        return self.head(self.states(tokens, label, condition))

    def states(
        self, tokens: Tensor, label: Tensor, condition: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """What `logits` are made from, (B, T, D); a cache that is given is filled."""
        assert (condition is not None) == self.conditional
        first = self.start(label.where(label >= 0, self.classes)).unsqueeze(1)
        x = torch.cat([first, self.code(tokens + self._level(tokens.shape[1], tokens.device))], dim=1)
        x = x + self.place[: x.shape[1]]
        before = 0
        if condition is not None:
            hint = self._hint(condition)
            x, before = torch.cat([hint, x], dim=1), hint.shape[1]
        return self.norm(self.transformer(x, cache)[:, before:])

    def stepper(
        self, label: Tensor, grid: tuple[int, ...] | None = None, condition: Tensor | None = None, hop: int = 1
    ) -> Callable[[Tensor | None], Tensor]:
        """What the sampler wants: step(None) gives the first logits (B, K) of a grid, step(token (B,)) the next.

        grid: at least as large as the window, which it is by default. condition: hints (B, Q, *grid), -1 for none.
        hop: places by which the window moves.
        """
        return Walk(self, label, self.window if grid is None else grid, condition, hop).step

    def following(self, token: Tensor, cache: Cache) -> Tensor:
        """The state (B, D) after one more token of the window that the cache was filled for."""
        position = cache.length - self.length * self.conditional
        x = self.code(token + ((position - 1) % self.spec.levels) * self.spec.size)
        return self.norm(self.transformer((x + self.place[position]).unsqueeze(1), cache)).squeeze(1)

    def room(self, grid: tuple[int, ...]) -> int:
        return self.length * (1 + self.conditional)

    def _draw(self, request: Request) -> Tensor:
        """A grid smaller than the window is cut out of one of its size, since whole windows are what it has learnt."""
        settings, grid = request.settings, request.grid
        assert isinstance(settings, Settings)
        whole = tuple(map(max, grid, self.window))
        hints = None if request.condition is None else windows.grown(request.condition, whole)
        step = self._guided(request.label, whole, hints, settings)
        drawn = (*grid[:1], *whole[1:])  # rows below are read by nothing
        uniform = request.uniform((prod(drawn) * self.spec.levels,))
        tokens = sampler.sample(step, uniform, **settings.choice)
        return windows.cut(self.codes(tokens, drawn), (0,) * len(grid), grid)

    def tokens(self, codes: Tensor) -> Tensor:
        """codes (B, Q, *S) -> tokens (B, T), the levels of one point next to each other."""
        return _codes.flat(codes)

    def codes(self, tokens: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """The inverse of `tokens`."""
        grid = self.spec.grid if grid is None else grid
        return _codes.unflat(tokens, grid, self.spec.levels)

    def _guided(
        self, label: Tensor, grid: tuple[int, ...], condition: Tensor | None, settings: Settings
    ) -> Callable[[Tensor | None], Tensor]:
        """A stepper away from what it would say without class and hint."""
        scale, hop = settings.guidance, settings.hop
        if scale == 1 or not (self.classes or self.conditional):
            return self.stepper(label, grid, condition, hop)
        both = None if condition is None else torch.cat([condition, torch.full_like(condition, -1)])
        step = self.stepper(torch.cat([label, torch.full_like(label, -1)]), grid, both, hop)
        return lambda token: sampler.guided(step(None if token is None else token.repeat(2)), scale)

    def _cropped(self, codes: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Both at the same place: a random one in training, else the middle."""
        grid = tuple(codes.shape[2:])
        if grid == self.window:
            return codes, condition
        if self.training:
            corners = windows.random_corners(len(codes), grid, self.window, codes.device)
            crop = partial(windows.cut_each, corners=corners, window=self.window)
        else:
            middle = windows.around(tuple(side // 2 for side in grid), grid, self.window)
            crop = partial(windows.cut, corner=middle, window=self.window)
        return crop(codes), None if condition is None else crop(condition)

    def _hint(self, condition: Tensor) -> Tensor:
        """codes (B, Q, *window), -1 for none -> (B, T, D)."""
        tokens = self.tokens(condition)
        rows = tokens + self._level(tokens.shape[1], tokens.device)
        return self.hint(rows.where(tokens >= 0, self.hint.num_embeddings - 1)) + self.place

    def _surprise(self, tokens: Tensor, label: Tensor, condition: Tensor | None = None) -> Tensor:
        """Nats (B, T) of tokens (B, T) of a window."""
        states = self.states(self._corrupted(tokens[:, :-1]), label, condition)
        return _codes.surprise(self.head, states.flatten(0, 1), tokens.flatten()).view_as(tokens)

    def _corrupted(self, tokens: Tensor) -> Tensor:
        """tokens (B, T), in training some of them others."""
        if not (self.training and self.config.corruption):
            return tokens
        others = torch.randint_like(tokens, self.spec.size)
        return others.where(torch.rand(tokens.shape, device=tokens.device) < self.config.corruption, tokens)

    def _level(self, count: int, device: torch.device) -> Tensor:
        """Offsets of the first `count` tokens into the embedding table, which has K rows per level."""
        return torch.arange(count, device=device) % self.spec.levels * self.spec.size


class Walk:
    """A grid in raster order: the logits of each code from those before it in the window around it.

    While the window stays where it is, keys and values are kept and a step costs one token. Where it moves, every position in it
    changes, so that the codes of the window up to here are read again.
    """

    def __init__(
        self, prior: Autoregressive, label: Tensor, grid: tuple[int, ...], condition: Tensor | None, hop: int
    ) -> None:
        self.prior, self.label, self.grid, self.condition, self.hop = prior, label, grid, condition, hop
        self.cache = prior.transformer.cache(len(label))
        self.tokens = label.new_zeros(len(label), prod(grid) * prior.spec.levels)
        self.seen = 0  # tokens
        self.corner: tuple[int, ...] | None = None  # of the window that the cache is of

    @torch.no_grad()
    def step(self, token: Tensor | None) -> Tensor:
        """The next logits (B, K), after the token (B,) that the last ones gave."""
        if token is not None:
            self.tokens[:, self.seen - 1] = token
        place = tuple(map(int, np.unravel_index(self.seen // self.prior.spec.levels, self.grid)))
        corner = windows.around(place, self.grid, self.prior.window, self.hop)
        self.seen += 1
        if corner == self.corner:
            assert token is not None
            return self.prior.head(self.prior.following(token, self.cache))
        self.corner = corner
        return self.prior.head(self._read(place, corner)[:, -1])

    def _read(self, place: tuple[int, ...], corner: tuple[int, ...]) -> Tensor:
        """States of the codes before a place in the window at a corner; the cache is filled anew."""
        prior, self.cache.length = self.prior, 0
        within = [at - first for at, first in zip(place, corner, strict=True)]
        count = int(np.ravel_multi_index(within, prior.window)) * prior.spec.levels if within else 0
        held = prior.tokens(windows.cut(prior.codes(self.tokens, self.grid), corner, prior.window))
        hint = None if self.condition is None else windows.cut(self.condition, corner, prior.window)
        return prior.states(held[:, :count], self.label, hint, self.cache)
