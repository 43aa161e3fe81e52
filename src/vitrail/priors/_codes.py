"""What the priors over codes have in common: settings, codes as a row of tokens, and the price of a token."""

from __future__ import annotations

from typing import Any, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitrail.errors import UsageError
from vitrail.priors._prior import Settings as PriorSettings
from vitrail.types import Config as PartConfig
from vitrail.types import LatentSpec

LOGITS = 1 << 24  # values of logits in memory at a time while training: 64 MiB


class Settings(PriorSettings):
    """How to draw a code."""

    temperature: float = Field(1.0, ge=0, description="below 1 safer, above 1 more varied; 0: always the likeliest")
    top_k: int | None = Field(None, ge=1, description="only among so many likeliest codes")
    top_p: float | None = Field(
        None, gt=0, le=1, description="only among the likeliest codes that make up this probability"
    )
    guidance: float = Field(
        1.0, ge=0, description="1: none; above 1 class and condition show more clearly, with less variety"
    )

    @property
    def choice(self) -> dict[str, Any]:
        """How samplers choose a code by its logits."""
        return {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}


class Config(PartConfig):
    """A transformer over codes."""

    width: int = Field(256, ge=8, description="features per token")
    depth: int = Field(6, ge=1, description="layers")
    heads: int = Field(4, ge=1, description="attention heads; divides the width")
    rotary: bool = Field(True, description="rotary positions inside attention, beside the learned ones of the input")
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="after attention and mlp; null: the fewer samples, the more",
    )
    label_dropout: float = Field(
        0.1, ge=0, le=1, description="share of samples trained without their class and condition, for guidance"
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} must be a multiple of twice the heads ({self.heads}); rotary positions turn pairs"
            )
        return self


def check_codes(prior: PartConfig, spec: LatentSpec, instead: str = "use prior=mixture or bottleneck=vq") -> None:
    """Raises UsageError, which says what to do instead, where the bottleneck has no codes."""
    if not spec.size:
        raise UsageError(f"the {prior.part()} prior models codes, but this bottleneck has none; {instead}")


def flat(codes: Tensor) -> Tensor:
    """codes (B, Q, *S) -> tokens (B, T) in raster order, the levels of one point next to each other."""
    return codes.movedim(1, -1).flatten(1)


def unflat(tokens: Tensor, grid: tuple[int, ...], levels: int) -> Tensor:
    """The inverse of `flat`."""
    return tokens.unflatten(1, (*grid, levels)).movedim(-1, 1)


def surprise(head: nn.Linear, states: Tensor, tokens: Tensor) -> Tensor:
    """Nats (N,) of tokens (N,) by logits head(states (N, D)); where those take too much room, part by part, and again backwards."""
    rows = max(1, LOGITS // head.out_features)
    if len(tokens) <= rows:
        return price(head, states, tokens)
    parts = zip(states.split(rows), tokens.split(rows), strict=True)
    return torch.cat([checkpoint(price, head, *part, use_reentrant=False, preserve_rng_state=False) for part in parts])


def price(head: nn.Linear, states: Tensor, tokens: Tensor) -> Tensor:
    """Minus the log-probability (N,) of tokens (N,)."""
    return F.cross_entropy(head(states).float(), tokens, reduction="none")


def check_grid(part: str, spec: LatentSpec, grid: tuple[int, ...]) -> None:
    """Raises UsageError for any grid but the prior's own."""
    if grid != spec.grid:
        own = "x".join(map(str, spec.grid))
        raise UsageError(
            f"the {part} prior knows grids of {own} codes only; leave the size out, or train prior=autoregressive or pixelcnn"
        )


def check_known(part: str, spec: LatentSpec, known: Tensor, conditional: bool) -> None:
    """Raises UsageError for what `infill` cannot keep."""
    if conditional:
        raise UsageError(f"a {part} prior that reads hints fills no gaps; train one with condition=null")
    shape = (spec.levels, *spec.grid)
    if tuple(known.shape[1:]) != shape:
        wanted, got = ("x".join(map(str, each)) for each in (shape, known.shape[1:]))
        raise UsageError(f"codes to keep are of shape {wanted} a sample, levels first, got {got}")
    if known.is_floating_point() or int(known.min()) < -1 or int(known.max()) >= spec.size:
        raise UsageError(f"codes to keep are whole numbers from 0 to {spec.size - 1}, -1 where unknown")
