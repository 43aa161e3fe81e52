"""The run's sample grids as data: URIs, small enough for a file that is mailed around."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

LARGE = 1600, 900_000  # longest side in pixels, bytes; above either a picture is made smaller
SMALL = 480, 60_000
FRAMES = 6  # of a film strip
SOFT_FROM = 1024  # pixels; a narrower picture is shown with hard edges
QUALITY = 88  # of WebP


@dataclass(frozen=True)
class Grid:
    """A picture that training wrote."""

    path: Path
    step: int | None  # None where a prior was fitted, not trained


@dataclass(frozen=True)
class Embedded:
    """A picture inside the page."""

    uri: str
    width: int  # of the file it was made from
    height: int

    @property
    def hard(self) -> bool:
        """Whether its pixels should stay visible when it is enlarged."""
        return self.width < SOFT_FROM


def grids(run: Path, stage: str) -> list[Grid]:
    """All grids of a stage, oldest first."""
    numbered = []
    for path in (run / "samples").glob(f"{stage}*.png"):
        if found := re.fullmatch(rf"{stage}(?:_step_(\d+))?", path.stem):
            numbered.append(Grid(path, int(found[1]) if found[1] else None))
    return sorted(numbered, key=lambda grid: (grid.step is None, grid.step or 0))


def spread(all_grids: Sequence[Grid], count: int = FRAMES) -> list[Grid]:
    """The first, the last, and evenly spaced ones between them in order."""
    positions = np.unique(np.linspace(0, len(all_grids) - 1, min(count, len(all_grids))).round().astype(int))
    return [all_grids[i] for i in positions]


def embedded(path: Path, limits: tuple[int, int] = LARGE) -> Embedded:
    """A picture file within a longest side and a number of bytes: as it is, or else smaller and as WebP."""
    side, size = limits
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.size
        if len(content) <= size:
            return Embedded(_uri("png", content), width, height)
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        beside = io.BytesIO()
        picture.convert("RGB").save(beside, "webp", quality=QUALITY)
    return Embedded(_uri("webp", beside.getvalue()), width, height)


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
