"""Draw pictures from a model's prior.

Writes sample_00000.png and so on, numbered as the samples are, and grid.png with the first 256. Each file says in a
text chunk how it came to be. The same command writes the same bytes, whatever else was drawn with it. Of a condition,
which a model wants whose recipe has one, the grid shows what the model was given first. Where training found that samples are
copies of training pictures, a line on standard error says so.
Files that vitrail did not write are replaced only with --overwrite.

    vitrail sample runs/fashion -n 64 --label Sandal --out dreams/
    vitrail sample runs/textures --size 256x512 --out large/
    vitrail sample runs/upscale -n 8 --condition blurred.png --out guesses/
    vitrail sample runs/captioned -n 8 --prompt "a red square" --out squares/
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.cli import _output, _run
from vitrail.cli._command import Answer
from vitrail.cli._options import Folder, NoMetadata
from vitrail.cli._output import Overwrite
from vitrail.cli._pictures import GRID, Files, grid, single
from vitrail.cli._show import progress
from vitrail.cli._task import Request, command
from vitrail.data.source import Progress
from vitrail.tasks.sample import Samples, sample
from vitrail.training import copying

BLOCK = 256  # samples in memory at a time
SHOWN = 256  # of which the grid shows the first

logger = logging.getLogger(__name__)


def write(
    request: Request, out: Folder = None, no_metadata: NoMetadata = False, overwrite: Overwrite = False
) -> Answer:
    """Draw and write block by block."""
    assert out is not None
    n, start = request.values["n"], request.values["first"]
    _output.free(out, [GRID, *(f"{_name(i)}.png" for i in range(start, start + n))], overwrite)
    _warn_of_copies(request.run)
    names: list[str] = []
    shown: list[Tensor] = []
    drawn: Samples | None = None
    with progress("samples") as tell:
        values = {**request.values, "condition": _condition(request, tell)}
        for first in range(start, start + n, BLOCK):
            drawn = sample(request.model, **{**values, "n": min(BLOCK, start + n - first), "first": first})
            names += _written(drawn, out, no_metadata)
            if len(shown) * BLOCK < SHOWN:
                shown.append(drawn.pictures.cpu())
            tell(first - start + len(drawn.pictures), n)
    assert drawn is not None
    if drawn.hint is not None:
        shown.insert(0, drawn.hint.cpu())
    story = {**drawn.story(0), "sample": [start, start + n - 1], "label": request.values["label"]}
    picture = grid(out / GRID, torch.cat(shown)[:SHOWN], story=None if no_metadata else story)
    facts = {"run": request.run, "out": out, "grid": picture, "files": names, **story}
    return Answer(facts, [f"{n} samples in {out}, together in {picture}"])


def _warn_of_copies(path: Path) -> None:
    """Repeat what training found, where its samples were copies of training pictures."""
    run = _run.folder_of(path)
    told = None if run is None else copying.read(run)
    if told is not None and told["finding"]:
        logger.warning("%s", told["finding"])


def _condition(request: Request, tell: Progress) -> Tensor | None:
    text = request.texts["picture"]
    return None if text is None else single(text, request.model, tell)


def _written(drawn: Samples, out: Path, plain: bool) -> list[str]:
    keys = [_name(drawn.first + i) for i in range(len(drawn.pictures))]
    files = Files(out, keys)
    stories: list[dict[str, Any] | None] = [None if plain else drawn.story(i) for i in range(len(keys))]
    return [files.write(key, x, story) for key, x, story in zip(keys, drawn.pictures, stories, strict=True)]


def _name(number: int) -> str:
    return f"sample_{number:05d}"


app = command(sample, write, __doc__)
