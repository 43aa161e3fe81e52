"""The interface of all discriminators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Opinion:
    """What a discriminator thinks of a batch."""

    logits: Tensor  # (B, ...), one or many judgements of a sample; the higher, the more it takes it for data
    features: tuple[Tensor, ...]  # of its hidden layers, each (B, C, *S), the one next to the data first

    def first(self, count: int) -> Opinion:
        """That of the first so many samples."""
        return Opinion(self.logits[:count], tuple(each[:count] for each in self.features))


class Discriminator(nn.Module, ABC):
    """Tells data from what a decoder made.

    No layer of it looks at more than one sample, except where it says so, nor changes state in a forward pass, so that
    processes agree and a resumed run repeats an undisturbed one.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Opinion:
        """Of x (B, C, *S) in [0, 1]."""
