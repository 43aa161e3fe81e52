"""Try settings of the sampler, and keep the best.

Draws samples with every combination of the settings named, scores them against real pictures through a feature net, and times
them. The table and the picture are in DIR; the same command again goes on where it was, and more values keep what is done.
The cheapest combination within 2 % of the lowest Frechet distance becomes the model's default, which changes its
fingerprint; --no-store leaves the model as it is.

    vitrail sample-sweep runs/faces --features features/faces --over sampler=dpmpp-2m,heun --over steps=10,20,50
    vitrail sample-sweep runs/faces --features features/faces --over sampler,steps,guidance

A setting that is named without values is tried with the usual ones.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vitrail.cli import _judged, _output, _run
from vitrail.cli._command import Answer, Table, single
from vitrail.cli._refusal import Mistakes
from vitrail.cli._show import progress
from vitrail.cli._task import Request
from vitrail.errors import UsageError
from vitrail.model import folder
from vitrail.model.model import Model, Precision
from vitrail.networks.features import load_features
from vitrail.studies import sampling
from vitrail.studies.ledger import Sweep
from vitrail.studies.sampling import Judge
from vitrail.studies.sampling_table import best, caption, table

Run = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder or a model folder", show_default=False)]
Words = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUES]...", help="more of --over", show_default=False)
]
Over = Annotated[
    list[str] | None,
    typer.Option(
        "--over",
        metavar="KEY=VALUES",
        help="a setting of the sampler and its values, or several settings, with commas; may be repeated",
    ),
]
Features = Annotated[
    Path | None,
    typer.Option("--features", metavar="FEATURES", help="feature net that judges samples", show_default=False),
]
Samples = Annotated[int, typer.Option("--samples", metavar="NUMBER", min=64, help="how many of each combination")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", metavar="NUMBER", min=64, help="judge by at most so many pictures; default: all"),
]
Seed = Annotated[int, typer.Option("--seed", metavar="NUMBER", min=0, help="seed of the noise, the same in every one")]
Computing = Annotated[Precision, typer.Option("--precision", help="what the model computes in, also while it is timed")]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="source of the pictures to judge by; default: the run's own",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="the study's folder; default: sampling in the run", show_default=False),
]
Store = Annotated[bool, typer.Option("--store/--no-store", help="make the best the model's default")]


def sample_sweep(
    run: Run,
    words: Words = None,
    over: Over = None,
    features: Features = None,
    samples: Samples = 2000,
    limit: Limit = None,
    seed: Seed = 0,
    data: Data = None,
    part: _judged.Part = "heldout",
    out: Out = None,
    precision: Computing = "fp32",
    store: Store = True,
) -> Answer:
    """Try, print the table, store the best."""
    if features is None:
        raise UsageError("--features is missing; `vitrail features train` makes a net that judges samples")
    model, judge = folder.load(run), Judge(load_features(features), samples, limit, seed, precision)
    axes = []
    with Mistakes() as mistakes:
        for word in (*(over or ()), *(words or ())):
            with mistakes.noted():
                axes += sampling.axes([word], model.recipe)
    place = out or (_run.folder_of(run) or run) / "sampling"
    _output.writable(place, folder=True, advice="give --out DIR")
    if store:
        _output.writable(sampling.model_folder(run), folder=True, advice="give --no-store to leave the model as it is")
    plan = sampling.planned(model, axes, judge)  # whose mistakes are told before pictures are read
    request = Request(model, run, {}, {"source": data})
    source = _judged.source(request, _run.folder_of(run))
    with progress("pictures") as tell:
        pictures = _judged.opened(source, request, part, tell)
    done = sampling.sweep(model, plan, judge, pictures, source, place, tell=_told)
    return _answer(done, model, run, store)


def _told(number: int, total: int, what: str) -> None:
    print(f"{number} of {total}: {what}", file=sys.stderr, flush=True)


def _answer(done: Sweep, model: Model, run: Path, store: bool) -> Answer:
    made, chosen, lost = table(done), best(done), list[str]()
    names = {"table": "table.md", "picture": "quality-cost.png", "study": "sweep.json"}
    there = {kind: done.out / name for kind, name in names.items() if (done.out / name).exists()}
    told: list[str | Table] = [Table(made.headings, made.rows), "", caption(done)]
    facts: dict[str, Any] = {**done.printed(), "out": done.out, **there, "best": None, "stored": False}
    if chosen is not None:
        facts["best"] = sampling.settings(chosen)
        told.append(f"best: {sampling.told(chosen)}")
        if store:
            with _output.surviving(sampling.model_folder(run)) as lost:
                before, after = model.fingerprint, sampling.store(model, run, chosen).fingerprint
                facts |= {"stored": True, "fingerprint": after}
                told.append(_changed(before, after))
    failed = sum(each.state == "failed" for each in done.results.values())
    told += [f"{name:8} {path}" for name, path in there.items()]
    return Answer({**facts, "failed": failed}, told, int(bool(failed or lost)))


def _changed(before: str, after: str) -> str:
    if before == after:
        return "it is the model's default already"
    return f"now the model's default; its fingerprint is {after}, was {before}: evaluate it again before comparing"


app = single(sample_sweep, __doc__)
