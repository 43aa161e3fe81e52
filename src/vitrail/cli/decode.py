"""Turn a file of latents back into pictures.

Writes each picture under its own name, and grid.png. The model must be the one that encoded. Files that vitrail did not
write are replaced only with --overwrite.

    vitrail decode runs/photos codes.npz --out decoded/
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vitrail.cli import _latents, _output
from vitrail.cli._command import Answer
from vitrail.cli._options import Folder
from vitrail.cli._output import Overwrite
from vitrail.cli._pictures import GRID, MOST, Files, grid
from vitrail.cli._show import progress
from vitrail.cli._task import Request, command, needed
from vitrail.tasks.decode import decode

SHOWN = 64  # pictures in the grid


def write(request: Request, out: Folder = None, overwrite: Overwrite = False) -> Answer:
    """Decode block by block."""
    assert out is not None
    groups = _latents.read(Path(needed(request.texts["latents"], "FILE")), request.model.fingerprint)
    files = Files(out, [key for group in groups for key in group.keys])
    _output.free(out, [GRID, *files.names.values()], overwrite)
    names: list[str] = []
    shown: list[Tensor] = []
    with progress("pictures") as tell:
        for group in groups:
            space = request.values["space"] or group.space
            for start in range(0, len(group.keys), MOST):
                pictures = decode(request.model, group.latents[start : start + MOST], space=space).pictures
                keys = group.keys[start : start + MOST]
                names += [files.write(key, x) for key, x in zip(keys, pictures, strict=True)]
                if not shown or shown[0].shape[1:] == pictures.shape[1:]:
                    shown.append(pictures[: max(0, SHOWN - sum(map(len, shown)))])
                tell(len(names), len(files.names))
    picture = grid(out / GRID, torch.cat(shown))
    facts = {"run": request.run, "out": out, "grid": picture, "files": names}
    return Answer(facts, [f"{len(names)} pictures in {out}, together in {picture}"])


app = command(decode, write, __doc__)
