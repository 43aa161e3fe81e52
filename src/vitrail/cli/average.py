"""Average a run's weights anew, over more or less of its end.

How long weights should be averaged shows only in the samples. A run trained with training.prior.posthoc=true (for a GAN,
training.codec.posthoc=true) kept snapshots from which the average of any width is made afterwards: nine tenths of 0.05 lie in the
last eighth of the training, of 0.10 in the last quarter. Without --out and --store it only tells how well a width is matched.

    vitrail train diffusion --data photos/ --out runs/photos --set training.prior.posthoc=true
    vitrail average runs/photos --width 0.07 --out models/photos-07
    vitrail average runs/photos --width 0.07 --store
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from vitrail import durable
from vitrail.cli import _output, _run
from vitrail.cli._command import Answer, single
from vitrail.cli._refusal import Mistakes
from vitrail.errors import ModelError, UsageError
from vitrail.model import folder
from vitrail.model.model import Model
from vitrail.training import averages
from vitrail.training.averages import Snapshot
from vitrail.training.profile import Combination, exponent
from vitrail.training.snapshot import own_tensors

CARD = "README.md"

Run = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder", show_default=False)]
Width = Annotated[
    float, typer.Option("--width", metavar="SHARE", help="standard deviation, as a share of the training: 0.02 to 0.2")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="a new model folder", show_default=False)]
Store = Annotated[bool, typer.Option("--store", help="replace the model of the run")]


def average(run: Run, width: Width = 0.07, out: Out = None, store: Store = False) -> Answer:
    """Combine the snapshots, and write the model where that is asked for."""
    with Mistakes() as mistakes:
        with mistakes.noted():
            exponent(width)
        if out is not None and (store or out.exists()):
            mistakes.add(
                f"{out} is there already; name a new folder" if out.exists() else "give --out or --store, not both"
            )
    home = _run.folder_of(run)
    if home is None:
        raise UsageError(f"{run} is no run folder, and only a run keeps snapshots")
    if store:
        _output.writable(home / "model", folder=True, advice="give --out DIR")
    model = folder.load(home)
    stage = averaged_stage(model)
    found = averages.snapshots(home / "averages", stage)
    if not found:
        raise UsageError(f"{home} has no snapshots of its {stage}: train it with --set training.{stage}.posthoc=true")
    made = put_in(model, stage, found, width)
    target = home / "model" if store else out
    if target is not None:
        _save(model, home, target, _note(width, made))
    facts = {"run": run, "stage": stage, "width": width, "snapshots": len(found), "missed": made.missed, "out": target}
    told = f"width {width:g} from {len(found)} snapshots of the {stage}: its profile is missed by {made.missed:.2%}"
    return Answer({**facts, "fingerprint": model.fingerprint}, [told, _whereto(target)])


def averaged_stage(model: Model) -> str:
    """The stage whose weights may be exchanged: the last one that trained.  Raises UsageError where that leaves none."""
    if model.prior is None or model.prior.trains:
        return "codec" if model.prior is None else "prior"
    if model.prior.fits:
        raise UsageError(
            "its prior was fitted to the codec as it is; average a run whose prior trains, or that has none"
        )
    return "codec"


def put_in(model: Model, stage: str, found: list[Snapshot], width: float) -> Combination:
    """Give the model the averaged weights. Raises ModelError where snapshots belong to another one."""
    module = model.codec if stage == "codec" else model.prior
    assert module is not None
    targets: dict[str, Tensor] = {f"{stage}.{name}": tensor for name, tensor in own_tensors(module).items()}
    tensors, made = averages.combined(found, width, targets)
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ModelError(f"{found[0].path.parent}: the average of width {width:g} is not finite")
    with torch.no_grad():
        for name, tensor in tensors.items():
            targets[name].copy_(tensor)
    return made


def _save(model: Model, home: Path, target: Path, note: str) -> None:
    """Write the model folder at once and complete, with the old card and a note; what else is in there stays."""
    old = home / "model"
    with durable.alone(home), tempfile.TemporaryDirectory() as made:
        card = (old / CARD).read_text(encoding="utf-8") if (old / CARD).is_file() else ""
        folder.save(model, Path(made), card + note)
        kept = {path.name: path.read_bytes() for path in target.glob("*") if path.is_file()}
        files = kept | {path.name: path.read_bytes() for path in Path(made).iterdir()}
        target.parent.mkdir(parents=True, exist_ok=True)
        with durable.storing(target):
            durable.write_folder(target, files)


def _note(width: float, made: Combination) -> str:
    return f"\nWeights: post-hoc average of width {width:g} (profile missed by {made.missed:.2%}).\n"


def _whereto(target: Path | None) -> str:
    return "nothing is written: add --out DIR or --store" if target is None else f"model in {target}"


app = single(average, __doc__)
