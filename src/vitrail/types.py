"""The types that every layer shares, and the shape legend.

Shape legend, used in every comment and docstring:
    B batch · C channels · *S 0 to 3 space axes · T tokens · K codebook size · Q quantizer levels · D width
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PositiveInt
from torch import Tensor

NO_BYTE = 256  # the token behind the end of a text, whose tokens are its UTF-8 bytes; a text of nothing else is none

NEUTRAL: dict[str, JsonValue] = {
    "neutral": True
}  # extra of a field that changes no result, so a run may go on with another value


class Config(BaseModel):
    """Settings of one part: frozen, keyword-only, unknown keys refused. A part subclasses it and adds `build`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # What the part's loss terms usually weigh: a number or the fields of a ramp. A recipe that is given this part in another's
    # place takes these over.
    usual_weights: ClassVar[Mapping[str, float | Mapping[str, float]]] = {}

    # Terms that belong to the part beside those: their weights go with it when another takes its place.
    own_terms: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def part(cls) -> str:
        """The part's name: that of its file, with hyphens."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")

    def printed(self) -> dict[str, Any]:
        """The JSON form, which `catalog` and the recipe read back: the part's name, then its settings."""
        return {"name": self.part(), **self.model_dump(mode="json")}


class DataSpec(Config):
    """What a model must know to read and write its data."""

    modality: str = "image"
    shape: tuple[PositiveInt, ...] = Field(min_length=1)  # (C, *S)
    classes: tuple[str, ...] = ()  # names in label order; empty where the data has no classes

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def space(self) -> tuple[int, ...]:
        return self.shape[1:]


@dataclass(frozen=True)
class LatentSpec:
    """Shapes of one sample's latent, for whoever models it."""

    shape: tuple[int, ...]  # (C, *S) of z
    levels: int = 0  # Q; 0 where there are no codes
    size: int = 0  # K, codes per level; 0 where there are no codes
    factor: int = 1  # points of z per point of the codes, along an axis

    @property
    def grid(self) -> tuple[int, ...]:
        """Points of the codes along each axis; where there are none, of z."""
        return tuple(side // self.factor for side in self.shape[1:])


@dataclass(frozen=True)
class Latent:
    """What a bottleneck makes of the encoder's output.

    A term is either a scalar (a mean, already per element) or of shape (B,): nats per sample.
    The codec divides the latter by the number of input values, so that it adds up with the likelihood.
    """

    z: Tensor  # (B, C, *S), what the decoder reads
    codes: Tensor | None = None  # (B, Q, *S) int64, on a grid that may be coarser than z's; None when continuous
    terms: dict[str, Tensor] = field(default_factory=dict)  # unweighted losses by name
    stats: dict[str, Tensor] = field(default_factory=dict)  # scalars for the log, never trained on


@dataclass(frozen=True)
class Batch:
    """Samples on their way into a network."""

    x: Tensor  # (B, C, *S) float in [0, 1]
    label: Tensor  # (B,) int64; -1 where unknown
    index: Tensor  # (B,) int64 position in the data set
    text: Tensor | None = None  # (B, T) int64 bytes of the captions, NO_BYTE behind them; None where they are not read
