"""Encode and decode pictures, to see what a model keeps of them.

Writes every reconstruction under the name of its picture, and grid.png with originals over reconstructions. Pictures
keep their own size where the model takes any. Files that vitrail did not write are replaced only with --overwrite.

    vitrail reconstruct runs/photos new-photos/ --out reconstructed/
"""

from __future__ import annotations

import torch

from vitrail.cli import _output
from vitrail.cli._command import Answer
from vitrail.cli._options import Folder, Resize
from vitrail.cli._output import Overwrite
from vitrail.cli._pictures import GRID, SHOWN, Files, grid, noted, opened
from vitrail.cli._show import progress
from vitrail.cli._task import Request, command, needed
from vitrail.tasks.reconstruct import Reconstruction, reconstruct

COLUMNS = 8


def write(request: Request, out: Folder = None, resize: Resize = False, overwrite: Overwrite = False) -> Answer:
    """Reconstruct block by block."""
    assert out is not None
    made: list[dict[str, object]] = []
    shown: list[Reconstruction] = []
    with progress("pictures") as tell:
        given = opened(needed(request.texts["pictures"], "INPUT"), request.model, resize, tell)
        files = Files(out, given.part.keys)
        _output.free(out, [GRID, *files.names.values()], overwrite)
        for block in given.blocks(tell):
            found = reconstruct(request.model, block.x)
            rows = zip(block.keys, found.x_hat, found.psnr.tolist(), strict=True)
            made += [{"picture": key, "file": files.write(key, x), "psnr": psnr} for key, x, psnr in rows]
            if not shown or (shown[0].x.shape[1:] == found.x.shape[1:] and sum(len(each.x) for each in shown) < SHOWN):
                shown.append(found)
    first = Reconstruction(
        *(torch.cat(parts)[:SHOWN] for parts in zip(*((r.x, r.x_hat, r.psnr) for r in shown), strict=True))
    )
    columns = min(COLUMNS, len(first.x))
    picture = grid(out / GRID, first.pairs(columns), columns)
    mean = sum(float(str(each["psnr"])) for each in made) / len(made)
    facts = {"run": request.run, "out": out, "grid": picture, "psnr": mean, "files": made, "skipped": given.skipped}
    lines = [f"{len(made)} pictures in {out}, mean PSNR {mean:.2f} dB", f"originals over reconstructions: {picture}"]
    return Answer(facts, [*noted(given.skipped), *lines])


app = command(reconstruct, write, __doc__)
