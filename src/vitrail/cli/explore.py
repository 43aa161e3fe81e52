"""Draw walks through the latent space.

They lead from picture to picture, and along the main directions of the space. Writes explore.png, and its two halves
interpolation.png and traversal.png; every row is a walk. Files that vitrail did not write are replaced only with --overwrite.

    vitrail explore runs/photos --out explored/
    vitrail explore runs/photos new-photos/ --out explored/ --rows 8
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vitrail.cli import _output
from vitrail.cli._command import Answer
from vitrail.cli._options import Folder
from vitrail.cli._output import Overwrite
from vitrail.cli._pictures import grid, opened
from vitrail.cli._show import progress
from vitrail.cli._task import Request, command
from vitrail.data.modalities import image
from vitrail.tasks.explore import POPULATION, explore


def write(request: Request, out: Folder = None, overwrite: Overwrite = False) -> Answer:
    """Explore and write three pictures."""
    assert out is not None
    _output.free(out, [f"{name}.png" for name in ("explore", "interpolation", "traversal")], overwrite)
    text = request.texts["pictures"]
    found = explore(request.model, None if text is None else _pictures(text, request), **request.values)
    out.mkdir(parents=True, exist_ok=True)
    image.write(out / "explore.png", found.sheet().cpu())
    for name, walks in {"interpolation": found.interpolation, "traversal": found.traversal}.items():
        grid(out / f"{name}.png", walks.flatten(0, 1), walks.shape[1])
    facts = {"run": request.run, "out": out, "picture": out / "explore.png", "share": found.share}
    held = f"the {len(found.share)} directions hold {sum(found.share):.0%} of the latents' variance"
    return Answer(facts, [f"walks in {Path(out) / 'explore.png'}; {held}"])


def _pictures(text: str, request: Request) -> Tensor:
    """Pictures spread evenly over a source, in the model's size."""
    with progress("pictures") as tell:
        given = opened(text, request.model, resize=True, progress=tell, most=POPULATION)
        return torch.cat([block.x for block in given.blocks(tell)])


app = command(explore, write, __doc__)
