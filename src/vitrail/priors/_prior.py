"""What every prior is: a distribution over the latents of one codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.samplers import noise
from vitrail.types import Config, Latent, LatentSpec


class Settings(Config):
    """How to draw from a prior; each kind of prior has its own."""


@dataclass(frozen=True)
class Request:
    """B latents to draw: row b depends on seed, numbers[b], label[b], and the rest only."""

    seed: int
    numbers: Sequence[int]
    label: Tensor  # (B,) int64, -1 for any
    settings: Settings
    grid: tuple[int, ...]  # points along each axis, as LatentSpec.grid counts them
    condition: Tensor | None = None

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """(B, *shape) float32."""
        return noise.normal(self.seed, self.numbers, shape).to(self.label.device)

    def uniform(self, shape: tuple[int, ...]) -> Tensor:
        """(B, *shape) float64 in [0, 1)."""
        return noise.uniform(self.seed, self.numbers, shape).to(self.label.device)


class Prior(nn.Module):
    """Interface. A prior either trains by gradients (`terms`), or is fitted once to all latents (`fit`), or is fixed."""

    trains: bool = False  # `terms` is to be minimised
    fits: bool = False  # `fit` is to be called
    discrete: bool = False  # `draw` gives codes
    conditional: bool = False  # is given the latent of a hint: what the codec makes of a degraded picture
    captions: int = 0  # bytes of the captions that it may be given instead; 0: it reads none
    of_its_run: tuple[str, ...] = ()  # how names of tensors begin that another training does not begin with
    infills: bool = False  # `infill` is there
    likelihood: Literal["none", "exact", "bound"] = "none"  # what `nats` gives
    spec: LatentSpec  # of what it learns from
    classes: int  # 0: unconditional

    def terms(self, latent: Latent, label: Tensor, condition: Tensor | None = None) -> dict[str, Tensor]:
        """Unweighted losses; label (B,) int64, -1 where unknown; condition: codes or z of the hints where `conditional`, or the
        captions (B, captions) int64, NO_BYTE behind their ends."""
        raise TypeError(f"{type(self).__name__} does not train")

    def fit(self, z: Tensor, label: Tensor, seed: int) -> None:
        """Adapt to z (N, C, *S) at once."""
        raise TypeError(f"{type(self).__name__} is not fitted")

    def room(self, grid: tuple[int, ...]) -> int:
        """Values of one sample that `draw` has in hand at a time."""
        return self.spec.shape[0] * prod(side * self.spec.factor for side in grid)

    @torch.no_grad()
    def draw(
        self,
        seed: int,
        numbers: Sequence[int],
        label: Tensor,
        settings: Settings,
        grid: tuple[int, ...] | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        """z (B, C, *S), or codes (B, Q, *S) where `discrete`: row b depends on seed, numbers[b], label[b] and the rest only.

        grid: points along each axis, as LatentSpec.grid counts them; None: as many as it learnt from.
        condition: codes or z of the hints on the same grid, where `conditional`; or captions (B, captions), None for none of them.
        Raises UsageError for a grid that it cannot draw.
        """
        assert self.captions or (condition is not None) == self.conditional
        return self._draw(Request(seed, numbers, label, settings, self.spec.grid if grid is None else grid, condition))

    @torch.no_grad()
    def infill(self, seed: int, numbers: Sequence[int], label: Tensor, settings: Settings, known: Tensor) -> Tensor:
        """Codes (B, Q, *S) that keep those known (B, Q, *S), which is -1 where they are not; row b as in `draw`."""
        if not self.infills:
            raise UsageError("this prior fills no gaps; priors that do are masked and any-order")
        return self._infill(Request(seed, numbers, label, settings, self.spec.grid), known)

    def _draw(self, request: Request) -> Tensor:
        """What `draw` gives, by a kind of prior."""
        raise NotImplementedError

    def _infill(self, request: Request, known: Tensor) -> Tensor:
        """What `infill` gives, by a kind of prior that does."""
        raise NotImplementedError

    def nats(self, latent: Latent, label: Tensor, seed: int, numbers: Sequence[int]) -> Tensor:
        """(B,) float64: minus the log of the probability of codes, or of the density of normalised z; see `likelihood`.

        "bound": it is at least that, and estimated without bias by noise that belongs to sample numbers[b] of the seed.
        label (B,), -1 where unknown. Raises UsageError where there is none.
        """
        raise UsageError("this prior gives no likelihood")

    @property
    def steerable(self) -> bool:
        """Whether it is given anything that guidance could lead towards."""
        return self.classes > 0 or self.conditional or self.captions > 0

    def at(self, progress: float) -> None:
        """Called before every step of training with the share of it that is done, 0 to 1, the same on every process."""


def forgetful(
    label: Tensor, condition: Tensor | None, share: float, none: float = -1, either: bool = False
) -> tuple[Tensor, Tensor | None]:
    """That share of samples loses class and hint, which guidance needs; as many more lose their class alone, so that a hint
    suffices.   none: what stands where there is no hint. either: as many lose their hint alone, so that a class suffices."""
    if not share:
        return label, condition
    drawn = torch.rand(label.shape, device=label.device)
    if condition is None:
        return label.masked_fill(drawn < share, -1), None
    alone = (drawn > 1 - share) if either else torch.zeros_like(label, dtype=torch.bool)
    lost = ((drawn < share) | alone).view(-1, *[1] * (condition.dim() - 1))
    return label.masked_fill(drawn < 2 * share, -1), condition.masked_fill(lost, none)


def unconditional(prior: Config, conditional: bool) -> None:
    """Raises UsageError where a prior that knows no conditions is to be given one."""
    if conditional:
        raise UsageError(
            f"the {prior.part()} prior takes no condition; use prior=autoregressive, masked or flow, or condition=null"
        )
