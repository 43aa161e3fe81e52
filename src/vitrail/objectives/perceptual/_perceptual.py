"""The interface of all perceptual distances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from torch import Tensor, nn


class Perceptual(nn.Module, ABC):
    """A distance that judges by more than single values. It has no weights that learn, and is always in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, whatever is done to the modules around it."""
        return super().train(False)

    @abstractmethod
    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """(B,): how different x_hat and x (B, C, *S), both in [0, 1], look; 0 where they are equal. float32 under any autocast."""
