"""Make a model of a checkpoint that another library trained.

Reads .safetensors, and pickled files (.ckpt, .pt, .pth, .bin, .th) as data only, in a process of their own: what asks for more
than tensors is refused, and nothing of it is run. The format is told by the names of the weights.

    vitrail import vqgan.ckpt --out models/vqgan
    vitrail reconstruct models/vqgan photos/ --out rebuilt
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from vitrail import catalog
from vitrail.cli import info
from vitrail.cli._command import Answer, single
from vitrail.cli._refusal import Mistakes
from vitrail.errors import ModelError, UsageError
from vitrail.interop._foreign import Foreign, opened
from vitrail.interop._format import Reader
from vitrail.model import folder

FOLDER = "interop"
NAMED = 4  # tensors of an unknown checkpoint that the refusal names

Checkpoint = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help="a .safetensors or pickled file, or the folder of one")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="MODEL", help="folder for the model", show_default=False)]
Format = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="diffusers, taming and so on, where names do not tell")
]
Size = Annotated[
    str | None,
    typer.Option("--size", metavar="HxW", help="size of the pictures that it is for; default: what its settings say"),
]
Ema = Annotated[bool, typer.Option("--ema", help="take the running averages of the weights, where the file has them")]


def import_(
    checkpoint: Checkpoint, out: Out = None, format: Format = None, size: Size = None, ema: Ema = False
) -> Answer:
    """Read, recognise, rebuild, save."""
    with Mistakes() as mistakes:
        if out is None:
            mistakes.add("--out is missing; it names the folder for the model")
        elif out.exists():
            mistakes.add(f"{out} is there already; name a new folder")
        if format is not None and format not in formats():
            mistakes.add(f"unknown format '{format}'{catalog.nearest(format, tuple(formats()))}")
        with mistakes.noted():
            sides = _sides(size)
    assert out is not None
    foreign = opened(checkpoint, ema)
    named = format or recognised(foreign)
    model = formats()[named].read(foreign, sides)
    card = f"# {out.name}\n\nImported by `vitrail import` from the {named} checkpoint `{checkpoint.name}`.\n"
    folder.save(model, out, card)
    facts: dict[str, Any] = {"checkpoint": checkpoint, "out": out, "format": named, **info.about(model)}
    return Answer(facts, _told(facts))


def formats() -> dict[str, Reader]:
    """What can be imported, by name."""
    parts = {name: catalog.find(FOLDER, name) for name in catalog.names(FOLDER)}
    return {name: part for name, part in parts.items() if isinstance(part, Reader)}


def recognised(foreign: Foreign) -> str:
    """The format of a checkpoint.   Raises ModelError where it is none of them, UsageError where it may be several."""
    found = [name for name, reader in formats().items() if reader.recognises(foreign)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{foreign.path}: may be {' or '.join(found)}; say which with --format")
    first = ", ".join(sorted(foreign.tensors)[:NAMED])
    raise ModelError(
        f"{foreign.path}: of no known format (there is: {', '.join(formats())}); its tensors begin with {first}"
    )


def _sides(size: str | None) -> tuple[int, int] | None:
    if size is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", size)
    if match is None:
        raise UsageError(f"--size wants height x width, such as 256x256, got '{size}'")
    return int(match[1]), int(match[2])


def _told(facts: dict[str, Any]) -> list[str]:
    """The same for a person."""
    shape, latent, rate = facts["shape"], facts["latent"], facts["bits_per_pixel"]
    grid = "x".join(map(str, latent["grid"]))
    codes = (
        f"{latent['levels']} x {grid} codes of {latent['codes']}"
        if latent["codes"]
        else f"{latent['shape'][0]} x {grid}"
    )
    bits = f", {rate:.3f} bits per pixel" if rate is not None else " numbers"
    return [
        f"{facts['format']} checkpoint {facts['checkpoint']} -> {facts['out']}, fingerprint {facts['fingerprint']}",
        f"pictures {'x'.join(map(str, shape))} (channels, height, width){', or any size' if facts['any_size'] else ''}",
        f"latent {codes}{bits}; {facts['weights']['codec']:,} weights",
        f"next: vitrail reconstruct {facts['out']} PICTURES --out rebuilt",
    ]


app = single(import_, __doc__)
