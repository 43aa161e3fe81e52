"""Write the latents of pictures: codes, or values without codes.

The file holds plain NumPy arrays: codes or z, keys (the names of the pictures) and space (their height and width). A
file that vitrail did not write is replaced only with --overwrite.

    vitrail encode runs/photos new-photos/ --out codes.npz
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from vitrail.cli import _latents, _output
from vitrail.cli._command import Answer
from vitrail.cli._latents import Group
from vitrail.cli._options import Resize
from vitrail.cli._output import Overwrite
from vitrail.cli._pictures import noted, opened
from vitrail.cli._show import progress
from vitrail.cli._task import Request, command, needed
from vitrail.tasks.encode import encode

Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="the .npz file", show_default=False)]


def write(request: Request, out: Out = None, resize: Resize = False, overwrite: Overwrite = False) -> Answer:
    """Encode block by block, then write all latents at once."""
    assert out is not None
    _output.free(out.parent, [out.name], overwrite)
    found: dict[tuple[int, int], list[Group]] = defaultdict(list)
    with progress("pictures") as tell:
        given = opened(needed(request.texts["pictures"], "INPUT"), request.model, resize, tell)
        for block in given.blocks(tell):
            latent = encode(request.model, block.x)
            kept = latent.z if latent.codes is None else latent.codes
            height, width = block.x.shape[2:]
            found[height, width].append(Group(block.keys, kept.cpu(), (height, width)))
    groups = [_joined(parts) for parts in found.values()]
    _latents.write(out, groups, request.model.fingerprint)
    count = sum(len(group.keys) for group in groups)
    kind = "z" if groups[0].latents.is_floating_point() else "codes"
    shapes = [{"space": group.space, "shape": tuple(group.latents.shape)} for group in groups]
    facts = {
        "run": request.run,
        "out": out,
        "kind": kind,
        "pictures": count,
        "groups": shapes,
        "skipped": given.skipped,
    }
    return Answer(facts, [*noted(given.skipped), f"{kind} of {count} pictures in {out}"])


def _joined(parts: list[Group]) -> Group:
    keys = tuple(key for part in parts for key in part.keys)
    return Group(keys, torch.cat([part.latents for part in parts]), parts[0].space)


app = command(encode, write, __doc__)
