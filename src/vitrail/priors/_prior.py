"""What every prior is: a distribution over the latents of one codec."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vitrail.types import Config, Latent, LatentSpec


class Settings(Config):
    """How to draw from a prior; each kind of prior has its own."""


class Prior(nn.Module):
    """Interface. A prior either trains by gradients (`terms`), or is fitted once to all latents (`fit`), or is fixed."""

    trains: bool = False  # `terms` is to be minimised
    fits: bool = False  # `fit` is to be called
    discrete: bool = False  # `draw` gives codes
    spec: LatentSpec
    classes: int  # 0: unconditional

    def terms(self, latent: Latent, label: Tensor) -> dict[str, Tensor]:
        """Unweighted losses; label (B,) int64, -1 where unknown."""
        raise TypeError(f"{type(self).__name__} does not train")

    def fit(self, z: Tensor, label: Tensor, seed: int) -> None:
        """Adapt to z (N, C, *S) at once."""
        raise TypeError(f"{type(self).__name__} is not fitted")

    def draw(self, seed: int, numbers: Sequence[int], label: Tensor, settings: Settings) -> Tensor:
        """z (B, C, *S), or codes (B, Q, *S) where `discrete`: row b depends on seed, numbers[b], label[b] and settings only."""
        raise NotImplementedError
