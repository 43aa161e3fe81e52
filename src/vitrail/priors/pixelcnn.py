"""Gated PixelCNN: convolutions that predict each code, or each value of a picture, from those before it.

Sources: van den Oord et al. 2016b, "Conditional image generation with PixelCNN decoders"; over the codes of a VQ-VAE van den Oord
et al. 2017, section 4.2. Guidance by dropping labels in training: Ho & Salimans 2022.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.networks.gated import Gated, Walk
from vitrail.priors import _codes
from vitrail.priors._chain import Chain, Step
from vitrail.priors._prior import Prior, Request, unconditional
from vitrail.types import Config as PartConfig
from vitrail.types import LatentSpec


class Settings(_codes.Settings):
    """How to draw."""


class Config(PartConfig):
    """Gated PixelCNN over codes, or over the values of pictures (network=identity bottleneck=scalar)."""

    width: int = Field(64, ge=1, description="features per place")
    depth: int = Field(8, ge=1, description="layers")
    kernel: int = Field(3, ge=3, description="side of what a layer sees, odd; half of it lies before the middle")
    first: int = Field(7, ge=3, description="the same of the first layer")
    dropout: float | None = Field(None, ge=0, lt=1, description="inside every layer; null: the fewer samples, the more")
    label_dropout: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of samples trained without their class, for guidance; 1: it learns no classes",
    )
    sampling: Settings = Field(Settings(), description="how to draw when the user says nothing")

    @field_validator("kernel", "first")
    @classmethod
    def _odd(cls, side: int) -> int:
        if side % 2 == 0:
            raise ValueError(f"{side} has no middle; use {side - 1} or {side + 1}")
        return side

    def build(self, spec: LatentSpec, classes: int, conditional: bool = False) -> Prior:
        unconditional(self, conditional)
        _codes.check_codes(self, spec, "use bottleneck=vq, or for pixels network=identity bottleneck=scalar")
        if len(spec.grid) not in (1, 2):
            raise UsageError(
                f"the pixelcnn prior wants codes on 1 or 2 axes, these have {len(spec.grid)}; use prior=autoregressive"
            )
        return PixelCNN(self, spec, classes if self.label_dropout < 1 else 0)


class PixelCNN(Chain):
    """p(codes | class) = prod_t p(code_t | codes before t, class), row by row, level by level within a place.

    Convolutions read the places before, once for all levels; from what they make of them each level's logits come, given the
    levels before it at the same place. One axis is a map of one row.
    """

    def __init__(self, config: Config, spec: LatentSpec, classes: int) -> None:
        super().__init__()
        self.config, self.spec, self.classes = config, spec, classes
        width, rows = config.width, spec.levels * spec.size
        # Of few codes an embedding of as many numbers says all.
        self.code = nn.Embedding(rows, min(width, rows))
        self.stacks = Gated(
            self.code.embedding_dim,
            width,
            config.depth,
            config.kernel,
            config.first,
            rows=len(spec.grid) == 2,
            classes=classes,
            dropout=config.dropout or 0.0,
        )
        self.place = nn.Linear(width, spec.levels * width)  # every level reads the place in its own way
        self.earlier = nn.Embedding(rows - spec.size, width) if spec.levels > 1 else None  # levels before, same place
        self.head = nn.Parameter(torch.zeros(spec.levels, spec.size, width))  # zero: the first loss is log K exactly
        self.bias = nn.Parameter(torch.zeros(spec.levels, spec.size))
        nn.init.normal_(self.code.weight, std=0.5)
        if self.earlier is not None:
            nn.init.normal_(self.earlier.weight, std=0.5)

    def logits(self, codes: Tensor, label: Tensor) -> Tensor:
        """codes (B, Q, *S), label (B,) -> logits (B, *S, Q, K) of each code from those before it."""
        x = self.embedded(codes.unsqueeze(2) if codes.dim() == 3 else codes)
        features = self.stacks(x, label).movedim(1, -1).reshape(len(codes), *codes.shape[2:], -1)  # (B, *S, D)
        hidden = self.place(features).unflatten(-1, (self.spec.levels, -1))  # (B, *S, Q, D)
        if self.earlier is not None:
            before = self.earlier(self._rows(codes)[..., :-1]).cumsum(-2)  # (B, *S, Q - 1, D)
            hidden = hidden + F.pad(before, (0, 0, 1, 0))
        return torch.einsum("...qd,qkd->...qk", F.silu(hidden), self.head) + self.bias

    def embedded(self, codes: Tensor) -> Tensor:
        """codes (B, Q, *S) -> (B, D, *S), the sum over the levels."""
        return self.code(self._rows(codes)).sum(-2).movedim(-1, 1)

    def room(self, grid: tuple[int, ...]) -> int:
        return self.spec.levels * prod(grid[-1:])  # a row

    def _draw(self, request: Request) -> Tensor:
        """Any grid: convolutions know no size, though they have learnt how far the border is."""
        grid = request.grid
        tokens = self.chained(lambda label: self.stepper(label, grid), request, prod(grid) * self.spec.levels)
        return tokens.unflatten(1, (*grid, self.spec.levels)).movedim(-1, 1)

    def stepper(self, label: Tensor, grid: tuple[int, ...]) -> Step:
        """What the sampler wants: step(None) gives the first logits (B, K) of a grid, step(token (B,)) the next."""
        return Steps(self, label, grid).step

    def price(self, codes: Tensor, label: Tensor) -> Tensor:
        """Minus the log-probability (B, T) of codes (B, Q, *S)."""
        logits = self.logits(codes, label).flatten(0, -2).float()
        return F.cross_entropy(logits, codes.movedim(1, -1).flatten(), reduction="none").unflatten(0, (len(codes), -1))

    def _rows(self, codes: Tensor) -> Tensor:
        """codes (B, Q, *S) -> rows (B, *S, Q) of an embedding table that has K per level."""
        return codes.movedim(1, -1) + torch.arange(self.spec.levels, device=codes.device) * self.spec.size


class Steps:
    """A grid code by code: the convolutions walk from place to place, the levels of each follow one another."""

    def __init__(self, prior: PixelCNN, label: Tensor, grid: tuple[int, ...]) -> None:
        self.prior = prior
        self.walk = Walk(prior.stacks, label, grid[-1])
        blank = prior.code.weight.new_zeros(len(label), prior.code.embedding_dim, 1, grid[-1])
        self.row, self.above = blank.clone(), blank  # embedded codes of this row so far, and of the one above it
        self.level, self.column = 0, 0  # of the next code
        self.hidden = blank  # (B, Q, D) at its place

    @torch.no_grad()
    def step(self, token: Tensor | None) -> Tensor:
        """The next logits (B, K), after the token (B,) that the last ones gave."""
        if token is not None:
            self._keep(token)
        if self.level == 0:
            x = self.row[:, :, 0, self.column - 1]
            self.hidden = self.prior.place(self.walk.step(x, self.above)).unflatten(-1, (self.prior.spec.levels, -1))
        hidden = F.silu(self.hidden[:, self.level])
        return F.linear(hidden, self.prior.head[self.level], self.prior.bias[self.level])

    def _keep(self, token: Tensor) -> None:
        """A token at the next code's place, which is then the one after it."""
        prior, spec = self.prior, self.prior.spec
        self.row[:, :, 0, self.column] += prior.code(token + self.level * spec.size)
        self.level += 1
        if self.level < spec.levels:
            assert prior.earlier is not None
            self.hidden[:, self.level :] += prior.earlier(token + (self.level - 1) * spec.size)[:, None]
            return
        self.level, self.column = 0, self.column + 1
        if self.column == self.walk.columns:
            self.column, self.above, self.row = 0, self.row, torch.zeros_like(self.row)
