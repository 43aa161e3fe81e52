"""A transformer that predicts hidden codes from those that are shown, and so draws many at a time, in any order, around any others.

Sources: MaskGIT (Chang et al. 2022); masked diffusion (Sahoo et al. 2024; Shi et al. 2024) with its integral over time in the
form of a sum over the number of hidden codes (Hoogeboom et al. 2022, eq. 4); guidance that grows (Chang et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, prod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.networks.rms_norm import RMSNorm
from vitrail.networks.scattered import Scattered
from vitrail.priors import _codes
from vitrail.priors._prior import Prior, Request, forgetful
from vitrail.samplers import noise
from vitrail.samplers.discrete import masked as sampler
from vitrail.types import Latent, LatentSpec

STRATA = 16  # numbers of hidden codes that a bound is averaged over, per sample


class Settings(_codes.Settings):
    """How to draw."""

    steps: int = Field(12, ge=1, description="calls of the network; first-hitting takes one per code instead")
    order: Literal["halton", "confidence", "random", "first-hitting"] = Field(
        "halton",
        description="which codes come next: spread evenly, the surest, any; or one at a time, exact and slow",
    )
    ramp: bool = Field(True, description="guidance grows from none to its value with the share of codes that are drawn")
    spread: float = Field(
        4.5, ge=0, description="noise on how sure a code is, fading over the steps; order=confidence only"
    )
    remask: float = Field(0.0, ge=0, lt=1, description="probability, per step, that a drawn code is drawn anew")


class Config(_codes.Config):
    """Transformer over codes that are partly hidden."""

    loss: Literal["diffusion", "maskgit"] = Field(
        "diffusion", description="diffusion: the bound on the likelihood; maskgit: more codes hidden, closer to drawing"
    )
    sampling: Settings = Field(Settings(), description="how to draw when the user says nothing")

    def build(self, spec: LatentSpec, classes: int, conditional: bool = False) -> Prior:
        _codes.check_codes(self, spec)
        return Masked(self, spec, classes, conditional)


class Masked(Prior):
    """p(code | codes that are shown, class, hint) for every hidden code, none of which reads another hidden one.

    A hidden code may therefore be left out where nobody asks for it. Where there is a hint, it lies beneath the codes and all
    places are read.
    """

    trains = True
    discrete = True
    infills = True
    likelihood: Literal["none", "exact", "bound"] = "bound"

    def __init__(self, config: Config, spec: LatentSpec, classes: int, conditional: bool = False) -> None:
        super().__init__()
        self.config, self.spec, self.classes, self.conditional = config, spec, classes, conditional
        if conditional:
            self.likelihood = "none"
        grid = (*spec.grid, spec.levels)
        self.length = prod(grid)
        self.start = nn.Embedding(classes + 1, config.width)  # its last row stands for "no class"
        self.code = nn.Embedding(spec.size * spec.levels + 1, config.width)  # its last row: hidden
        self.place = nn.Parameter(0.02 * torch.randn(self.length, config.width))
        self.transformer = Scattered(
            config.width, config.depth, config.heads, grid, rotate=config.rotary, dropout=config.dropout or 0.0
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
        """`nats` of a code: with loss=diffusion, and always where it is judged, a bound on what autoregressive priors call so.

        In training with loss=maskgit: the mean over the hidden codes, of which there are more.
        """
        assert latent.codes is not None
        tokens = _codes.flat(latent.codes)
        if not self.training:
            uniform = noise.uniform(0, range(len(tokens)), (1 + self.length,)).to(tokens.device)
            hidden = self._hidden(stratified(uniform[:1, 0], len(tokens)), uniform[:, 1:])
            return {"nats": self._bound(tokens, label, condition, hidden).mean() / self.length}
        label, condition = forgetful(label, condition, self.config.label_dropout)
        share = stratified(torch.rand(1, device=tokens.device), len(tokens))
        if self.config.loss == "maskgit":
            share = torch.cos(share * (pi / 2))
        hidden = self._hidden(share, torch.rand(tokens.shape, device=tokens.device))
        if self.config.loss == "diffusion":
            return {"nats": self._bound(tokens, label, condition, hidden).mean() / self.length}
        return {"nats": self._surprise(tokens, label, condition, hidden).mean()}

    @torch.no_grad()
    def nats(self, latent: Latent, label: Tensor, seed: int, numbers: Sequence[int]) -> Tensor:
        """An average over STRATA equally spaced numbers of hidden codes, shifted by a random part of the spacing."""
        if self.conditional:
            raise UsageError("a masked prior that reads hints gives no likelihood; train one with condition=null")
        assert latent.codes is not None
        tokens = _codes.flat(latent.codes)
        uniform = noise.uniform(seed, numbers, (1 + STRATA * self.length,)).to(tokens.device)
        ranks = uniform[:, 1:].unflatten(1, (STRATA, self.length))
        bounds = [
            self._bound(tokens, label, None, self._hidden((stratum + uniform[:, 0]) / STRATA, ranks[:, stratum]))
            for stratum in range(STRATA)
        ]
        return torch.stack(bounds).mean(0)

    def states(self, tokens: Tensor, label: Tensor, condition: Tensor | None = None) -> Tensor:
        """tokens (B, T), -1 where hidden; label (B,); condition (B, Q, *S) -> (B, T, D), from which `head` makes logits."""
        every = torch.arange(self.length, device=tokens.device).expand_as(tokens)
        shown = torch.ones_like(tokens, dtype=torch.bool) if self.conditional else tokens >= 0
        return self._read(tokens, every, shown, label, condition)

    def states_at(self, tokens: Tensor, places: Tensor, label: Tensor, condition: Tensor | None = None) -> Tensor:
        """Those of hidden codes at places (B, N) alone -> (B, N, D); without a hint, no other hidden code is computed."""
        if self.conditional:
            whole = self.states(tokens, label, condition)
            return whole.gather(1, places.unsqueeze(-1).expand(-1, -1, whole.shape[-1]))
        shown = tokens >= 0
        most = int(shown.sum(1).max())
        known = shown.byte().argsort(dim=1, descending=True, stable=True)[:, :most]
        at = torch.cat([known, places], dim=1)
        hidden = torch.full_like(places, -1)
        return self._read(
            torch.cat([tokens.gather(1, known), hidden], dim=1), at, shown.gather(1, known), label, condition
        )[:, most:]

    def room(self, grid: tuple[int, ...]) -> int:
        return self.length * max(1, self.spec.size // 1024)  # logits of all places lie there at once

    def _draw(self, request: Request) -> Tensor:
        _codes.check_grid("masked", self.spec, request.grid)
        return self._filled(request, request.label.new_full((len(request.label), self.length), -1))

    def _infill(self, request: Request, known: Tensor) -> Tensor:
        _codes.check_known("masked", self.spec, known, self.conditional)
        return self._filled(request, _codes.flat(known))

    def _filled(self, request: Request, tokens: Tensor) -> Tensor:
        """Codes (B, Q, *S) for tokens (B, T) that are -1 where unknown."""
        settings = request.settings
        assert isinstance(settings, Settings)
        shape = sampler.noise_shape(settings.order, settings.steps, self.length, settings.remask)
        spread = sampler.halton(self.spec.grid, self.spec.levels)
        tokens = sampler.sample(
            self._guided(request.label, request.condition, settings),
            tokens,
            request.uniform(shape),
            order=spread if settings.order == "halton" else settings.order,
            steps=settings.steps,
            remask=settings.remask,
            spread=settings.spread,
            **settings.choice,
        )
        return _codes.unflat(tokens, self.spec.grid, self.spec.levels)

    def _guided(self, label: Tensor, condition: Tensor | None, settings: Settings) -> sampler.Logits:
        """What the sampler wants, away from what it would be without class and hint."""
        if settings.guidance == 1 or not (self.classes or self.conditional):
            return lambda tokens, places, share: self.head(self.states_at(tokens, places, label, condition))
        labels = torch.cat([label, torch.full_like(label, -1)])
        hints = None if condition is None else torch.cat([condition, torch.full_like(condition, -1)])

        def logits(tokens: Tensor, places: Tensor, share: Tensor) -> Tensor:
            both = self.head(self.states_at(tokens.repeat(2, 1), places.repeat(2, 1), labels, hints))
            conditional, free = both.chunk(2)
            grown = share if settings.ramp else torch.ones_like(share)
            scale = 1 + (settings.guidance - 1) * grown[:, None, None].to(both.dtype)
            return free + scale * (conditional - free)

        return logits

    def _read(self, tokens: Tensor, places: Tensor, shown: Tensor, label: Tensor, condition: Tensor | None) -> Tensor:
        """States (B, N, D) of tokens (B, N) at places (B, N), of which the first M are read where shown (B, M)."""
        assert (condition is not None) == self.conditional
        row = tokens + places % self.spec.levels * self.spec.size  # of the embedding table, which has K rows per level
        x = self.code(row.where(tokens >= 0, self.code.num_embeddings - 1)) + self.place[places]
        if condition is not None:
            hints = _codes.flat(condition)
            row = hints + places % self.spec.levels * self.spec.size
            x = x + self.hint(row.where(hints >= 0, self.hint.num_embeddings - 1))
        start = self.start(label.where(label >= 0, self.classes)).unsqueeze(1)
        at = torch.cat([torch.full_like(places[:, :1], self.length), places], dim=1)
        mask = torch.cat([torch.ones_like(shown[:, :1]), shown], dim=1)[:, None, None]  # the class is always read
        return self.norm(self.transformer(torch.cat([start, x], dim=1), at, mask)[:, 1:])

    def _hidden(self, share: Tensor, uniform: Tensor) -> Tensor:
        """(B, T): a random set of 1 to T codes for each share (B,) in [0, 1), by the order of uniform numbers (B, T)."""
        count = 1 + (share * self.length).long().clamp_max(self.length - 1)
        return uniform.argsort(dim=1).argsort(dim=1) < count[:, None]

    def _bound(self, tokens: Tensor, label: Tensor, condition: Tensor | None, hidden: Tensor) -> Tensor:
        """(B,) float64: nats of the hidden codes times T / their number, whose mean bounds those of all codes from above."""
        weight = self.length / hidden.sum(1)
        prices = self._surprise(tokens, label, condition, hidden).double()
        return weight * prices.new_zeros(hidden.shape).masked_scatter(hidden, prices).sum(1)

    def _surprise(self, tokens: Tensor, label: Tensor, condition: Tensor | None, hidden: Tensor) -> Tensor:
        """Nats of each hidden code, in the order in which they lie in (B, T)."""
        states = self.states(tokens.masked_fill(hidden, -1), label, condition)
        return _codes.surprise(self.head, states[hidden], tokens[hidden])


def stratified(shift: Tensor, count: int) -> Tensor:
    """(count,) numbers in [0, 1), one in each of as many equal parts, all shifted alike by shift (1,) in [0, 1)."""
    return (torch.arange(count, device=shift.device) + shift) / count
