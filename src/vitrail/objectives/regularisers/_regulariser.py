"""The interface of all regularisers of a codec's latent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

Cost = Callable[
    [Tensor, Tensor], Tensor
]  # z (B, D, *s), x (B, C, *S) -> (B,): of x per value, where the decoder reads z


class Regulariser(nn.Module, ABC):
    """A term that any codec can be trained with. Its randomness comes from torch's global generator."""

    @abstractmethod
    def forward(self, x: Tensor, z: Tensor, cost: Cost) -> dict[str, Tensor]:
        """Unweighted terms for x (B, C, *S) and its latent z (B, D, *s) as the decoder reads it; S is a multiple of s."""
