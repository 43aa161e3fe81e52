"""The interface of all feature nets."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class FeatureNet(nn.Module, ABC):
    """A net whose features say how alike pictures are. Loaded from a file it knows which one: scores record both.

    Always in evaluation mode after `load_features`; features are float32 unless the caller puts autocast around them.
    """

    name: str  # of the file in this folder that builds it
    sha256: str = ""  # of the weight file; empty for a net that was not loaded
    width: int  # D of the features
    widths: tuple[int, ...]  # C of each map

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """Features (B, D) of pictures x: (B, C, H, W) in [0, 1], grey or RGB, of any size that the net takes."""

    @abstractmethod
    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Hidden layers (B, C, h, w) for the same x, the finest or earliest first; their slope by x is defined everywhere."""


def to_rgb(x: Tensor) -> Tensor:
    """Grey pictures repeated to three channels."""
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
