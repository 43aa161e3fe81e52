"""Show a codebook: how codes are used, what each decodes to.

Judges by the held-out part of the run's own data unless --data names another source. Writes codebook.json, atlas.png,
histogram.png and entropy.png into RUN/codebook, or into --out. There files that vitrail did not write are replaced only with
--overwrite.

    vitrail codebook runs/photos
    vitrail codebook runs/photos --data other-photos/ --out codes/
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from vitrail import durable
from vitrail.cli import _judged, _output, _run
from vitrail.cli._command import Answer, Table, as_json
from vitrail.cli._output import Overwrite
from vitrail.cli._show import progress
from vitrail.cli._task import Request, command
from vitrail.codecs.codebook import CodebookReport, Level
from vitrail.data.modalities import image
from vitrail.tasks.codebook import codebook

NAMES = ("codebook.json", "atlas.png", "histogram.png", "entropy.png")

Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="folder for the numbers and pictures instead of RUN/codebook", show_default=False
    ),
]


def write(request: Request, part: _judged.Part = "heldout", to: Out = None, overwrite: Overwrite = False) -> Answer:
    """Look at the codebook and write four files; what cannot be written is printed all the same."""
    run = _run.folder_of(request.run)
    own = (run or request.run) / "codebook"  # a run's holds what its training drew
    out = to or own
    _output.writable(out, folder=True, advice="give --out DIR")
    if out.resolve() != own.resolve():
        _output.free(out, NAMES, overwrite)
    source = _judged.source(request, run)
    with progress("pictures") as tell:
        data = _judged.opened(source, request, part, tell)
        found = codebook(request.model, data, **request.values, progress=tell)
    about = {"run": request.run, "fingerprint": request.model.fingerprint, "data": source, "part": part}
    facts: dict[str, Any] = {**about, **found.printed()}
    with _output.surviving(out) as lost:
        _draw(out, facts, found)
    facts |= {"out": out, "files": [] if lost else list(NAMES)}
    return Answer(facts, [table(found), *([] if lost else [f"\n{', '.join(NAMES)} in {out}"])], int(bool(lost)))


def _draw(out: Path, facts: dict[str, Any], found: CodebookReport) -> None:
    """Write the four files."""
    from vitrail.cli import _codebook_charts as charts  # matplotlib takes half a second

    out.mkdir(parents=True, exist_ok=True)
    durable.write_file(out / "codebook.json", json.dumps(as_json(facts)).encode())
    image.write(out / "atlas.png", found.sheet())
    charts.histogram(out / "histogram.png", found)
    charts.positions(out / "entropy.png", found)


def table(found: CodebookReport) -> Table:
    """A row per level."""
    headings = ("level", "in use", "dead", "perplexity", "bits per token", "nearest neighbour")
    return Table(headings, [_row(i + 1, level, found.size) for i, level in enumerate(found.levels)])


def _row(number: int, level: Level, size: int) -> tuple[str, ...]:
    """Distances to the nearest neighbour are told as the median and the middle 90 %, in units of the codes' spread."""
    use, near = level.use, level.printed()["neighbours"]
    spread = f"{near['median']:.2f} ({near['5%']:.2f} to {near['95%']:.2f})" if near else "-"
    share = f"{size - use.dead:,} of {size:,} ({use.usage:.1%})"
    bits = f"{use.bits:.2f} of {math.log2(size):.2f}"
    return str(number), share, f"{use.dead:,}", f"{use.perplexity:,.1f}", bits, spread


app = command(codebook, write, __doc__)
