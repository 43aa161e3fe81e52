"""The interface of all formats: a file of this folder reads, writes, or does both, by functions of these names."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from vitrail.interop._foreign import Foreign
from vitrail.model.model import Model


@runtime_checkable
class Reader(Protocol):
    """A format that can be imported."""

    def recognises(self, foreign: Foreign) -> bool:
        """Whether a checkpoint is of this format, by the names of its weights or by its settings."""

    def read(self, foreign: Foreign, size: tuple[int, int] | None = None) -> Model:
        """Its codec, made for pictures of `size` (H, W). Raises ModelError that names what does not fit."""


@runtime_checkable
class Writer(Protocol):
    """A format that can be exported to."""

    def write(self, model: Model, path: Path) -> list[Path]:
        """Write the files into a new folder and name them. Raises ModelError or UsageError where the format has no place for it."""
