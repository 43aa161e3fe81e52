"""Write a model for diffusers, or its codec to ONNX.

vitrail export runs/photos --to onnx --out photos-onnx
vitrail export runs/photos --to diffusers --out photos-vae
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from vitrail import catalog, durable
from vitrail.cli._command import Answer, single
from vitrail.cli._refusal import Mistakes
from vitrail.errors import UsageError
from vitrail.interop._format import Writer
from vitrail.model import folder
from vitrail.model.model import Model

FOLDER = "interop"

Run = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder or a model folder")]
To = Annotated[str | None, typer.Option("--to", metavar="FORMAT", help="diffusers or onnx", show_default=False)]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="folder for the files", show_default=False)]


def export(run: Run, to: To = None, out: Out = None) -> Answer:
    """Load, write beside, put in place."""
    with Mistakes() as mistakes:
        if to is None:
            mistakes.add(f"--to is missing; give one of {', '.join(formats())}")
        elif to not in formats():
            mistakes.add(f"unknown format '{to}'{catalog.nearest(to, tuple(formats()))}")
        if out is None:
            mistakes.add("--out is missing; it names the folder for the files")
        elif out.exists():
            mistakes.add(f"{out} is there already; name a new folder")
    assert to is not None
    assert out is not None
    model = folder.load(run)
    files = _written(formats()[to], model, out)
    facts = {"run": run, "to": to, "out": out, "files": files, "fingerprint": model.fingerprint}
    return Answer(facts, [f"{to} files in {out}: {', '.join(files)}"])


def formats() -> dict[str, Writer]:
    """What can be exported to, by name."""
    parts = {name: catalog.find(FOLDER, name) for name in catalog.names(FOLDER)}
    return {name: part for name, part in parts.items() if isinstance(part, Writer)}


def _written(writer: Writer, model: Model, out: Path) -> list[str]:
    """Names of the files; the folder is there as a whole or not at all."""
    beside = out.with_name(f"{out.name}.unfinished")
    if beside.exists():
        raise UsageError(
            f"{beside} is left from an export that broke off, or belongs to one that runs; remove it first"
        )
    try:
        files = writer.write(model, beside)
        names = [file.relative_to(beside).as_posix() for file in files]
        durable.put_in_place(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return names


app = single(export, __doc__)
