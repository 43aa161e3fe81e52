"""A transformer that predicts each code from those before it, given a class or none.

Source: VQ-VAE's prior (van den Oord et al. 2017) with the transformer of VQGAN (Esser et al. 2021); classifier-free guidance by
dropping labels in training (Ho & Salimans 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.networks.transformer import Cache, Transformer
from vitrail.priors._prior import Prior
from vitrail.priors._prior import Settings as PriorSettings
from vitrail.samplers import noise
from vitrail.samplers.discrete import autoregressive as sampler
from vitrail.types import Config as PartConfig
from vitrail.types import Latent, LatentSpec


class Settings(PriorSettings):
    """How to draw."""

    temperature: float = Field(1.0, ge=0, description="below 1 safer, above 1 more varied; 0: always the likeliest")
    top_k: int | None = Field(None, ge=1, description="only among so many likeliest codes")
    top_p: float | None = Field(
        None, gt=0, le=1, description="only among the likeliest codes that make up this probability"
    )
    guidance: float = Field(1.0, ge=0, description="1: none; above 1 the class shows more clearly, with less variety")


class Config(PartConfig):
    """Transformer over codes."""

    width: int = Field(256, ge=8, description="features per token")
    depth: int = Field(6, ge=1, description="layers")
    heads: int = Field(4, ge=1, description="attention heads; divides the width")
    rotary: bool = Field(True, description="rotary positions inside attention, beside the learned ones of the input")
    dropout: float = Field(0.0, ge=0, lt=1, description="after attention and mlp")
    label_dropout: float = Field(
        0.1, ge=0, le=1, description="share of samples trained without their class, for guidance"
    )
    sampling: Settings = Field(Settings(), description="how to draw when the user says nothing")

    @model_validator(mode="after")
    def _divides(self) -> Config:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} must be a multiple of twice the heads ({self.heads}); rotary positions turn pairs"
            )
        return self

    def build(self, spec: LatentSpec, classes: int) -> Prior:
        if not spec.size:
            raise UsageError(
                "the autoregressive prior models codes, but this bottleneck has none; use prior=mixture or bottleneck=vq"
            )
        return Autoregressive(self, spec, classes)


class Autoregressive(Prior):
    """p(codes | class) = prod_t p(code_t | codes before t, class), codes read row by row, level by level within a point."""

    trains = True
    discrete = True

    def __init__(self, config: Config, spec: LatentSpec, classes: int) -> None:
        super().__init__()
        self.config, self.spec, self.classes = config, spec, classes
        grid = (*spec.grid, spec.levels)
        self.length = torch.Size(grid).numel()
        self.start = nn.Embedding(
            classes + 1, config.width
        )  # first token: the class; the last row stands for "no class"
        self.code = nn.Embedding(spec.size * spec.levels, config.width)
        self.place = nn.Parameter(0.02 * torch.randn(self.length, config.width))  # of the token to predict
        self.transformer = Transformer(
            config.width, config.depth, config.heads, grid, causal=True, rotate=config.rotary, dropout=config.dropout
        )
        self.norm = nn.RMSNorm(config.width, eps=1e-6)
        self.head = nn.Linear(config.width, spec.size, bias=False)
        for embedding in (self.start, self.code):
            nn.init.normal_(embedding.weight, std=0.02)
        nn.init.zeros_(self.head.weight)  # the first loss is log K exactly

    def terms(self, latent: Latent, label: Tensor) -> dict[str, Tensor]:
        """`nats`: mean negative log-likelihood of a code."""
        assert latent.codes is not None
        tokens = self.tokens(latent.codes)  # (B, T)
        if self.training and self.config.label_dropout:
            label = label.masked_fill(torch.rand(label.shape, device=label.device) < self.config.label_dropout, -1)
        logits = self.logits(tokens[:, :-1], label)
        return {"nats": F.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten())}

    def logits(self, tokens: Tensor, label: Tensor) -> Tensor:
        """tokens (B, T - 1) or fewer, label (B,) -> logits (B, T, K): position t from the tokens before it."""
        first = self.start(label.where(label >= 0, self.classes)).unsqueeze(1)
        x = torch.cat([first, self.code(tokens + self._level(tokens.shape[1], tokens.device))], dim=1)
        return self.head(self.norm(self.transformer(x + self.place[: x.shape[1]])))

    @torch.no_grad()
    def stepper(self, label: Tensor) -> Callable[[Tensor | None], Tensor]:
        """What the sampler wants: step(None) gives the first logits (B, K), step(token (B,)) the next.

        Keys and values of the tokens so far are kept in a cache.
        """
        cache = self.transformer.cache(len(label))

        def step(token: Tensor | None) -> Tensor:
            return self._next(token, label, cache)

        return step

    def _next(self, token: Tensor | None, label: Tensor, cache: Cache) -> Tensor:
        position = cache.length
        if token is None:
            x = self.start(label.where(label >= 0, self.classes))
        else:
            x = self.code(token + ((position - 1) % self.spec.levels) * self.spec.size)
        x = self.transformer((x + self.place[position]).unsqueeze(1), cache)
        return self.head(self.norm(x)).squeeze(1)

    def draw(self, seed: int, numbers: Sequence[int], label: Tensor, settings: PriorSettings) -> Tensor:
        assert isinstance(settings, Settings)
        guide = settings.guidance if self.classes else 1.0
        step = self.stepper(label if guide == 1 else torch.cat([label, torch.full_like(label, -1)]))

        def guided(token: Tensor | None) -> Tensor:
            if guide == 1:
                return step(token)
            return sampler.guided(step(None if token is None else token.repeat(2)), guide)

        uniform = noise.uniform(seed, numbers, (self.length,)).to(label.device)
        tokens = sampler.sample(
            guided, uniform, temperature=settings.temperature, top_k=settings.top_k, top_p=settings.top_p
        )
        return self.codes(tokens)

    def tokens(self, codes: Tensor) -> Tensor:
        """codes (B, Q, *S) -> tokens (B, T), the levels of one point next to each other."""
        return codes.movedim(1, -1).flatten(1)

    def codes(self, tokens: Tensor) -> Tensor:
        """The inverse of `tokens`."""
        return tokens.unflatten(1, (*self.spec.grid, self.spec.levels)).movedim(-1, 1)

    def _level(self, count: int, device: torch.device) -> Tensor:
        """Offsets of the first `count` tokens into the embedding table, which has K rows per level."""
        return torch.arange(count, device=device) % self.spec.levels * self.spec.size
