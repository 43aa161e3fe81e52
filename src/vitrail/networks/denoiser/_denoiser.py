"""The interface of all networks that look at noisy latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Ports:
    """What goes into a denoiser and comes out: maps (B, inputs, *space) -> (B, outputs, *space), and what it is told of them."""

    inputs: int
    outputs: int
    space: tuple[int, ...]
    classes: int = 0  # 0: the label is ignored
    scalars: int = 1  # numbers that tell how noisy a map is, and in few-step models the size of the step
    tokens: int = 0  # bytes of a caption; 0: texts are ignored


class Denoiser(nn.Module, ABC):
    """(B, inputs, *S) -> (B, outputs, *S), knowing how noisy its input is, of which class, and what its caption says.

    Its Config's `build(ports)` makes it for maps of this *S; where it takes others too, it says so. Its last layer starts at zero.
    No layer looks at more than one sample or changes state in a forward pass.
    """

    @abstractmethod
    def forward(self, z: Tensor, told: Tensor, label: Tensor, text: Any = None) -> Tensor:
        """z (B, inputs, *S); told (B, scalars) float, each between 0 and about 1000: the noise level, and in few-step models the
        size of the step; label (B,) int64, `classes` itself where there is none; text (B, tokens) int64, NO_BYTE behind its end."""

    def read(self, text: Tensor) -> Any:
        """What `forward` takes in place of a text, made once for many calls."""
        return text
