"""Score a model: reconstructions, codebook, samples.

Sets of samples are scored only where --features names a feature net. Judges by the held-out part of the run's own data unless
--data names another source. Where it is the held-out part of the run's own, samples are also searched for copies of training
pictures, unless --no-copies; the most suspicious ones are drawn beside them in copies.png, and what a photocopier would score, the
training pictures taken for samples, stands beside the scores. The scores are printed with their protocol and written to
evaluation.json in the run folder, or to --out, where a file that vitrail did not write is replaced only with --overwrite. Scores
that cannot be written are printed all the same, and the exit code is then 1.

    vitrail evaluate runs/fashion --features features/fashion --samples 10000
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from vitrail.cli import _judged, _output, _run, _scores
from vitrail.cli._command import Answer, Table
from vitrail.cli._output import Overwrite
from vitrail.cli._pictures import grid
from vitrail.cli._show import progress
from vitrail.cli._task import Request, command
from vitrail.data.dataset import Dataset
from vitrail.errors import UsageError
from vitrail.model.given import given
from vitrail.networks.features import load_features
from vitrail.tasks.evaluate import Evaluation, evaluate
from vitrail.training import report

NOTHING = "no scores: samples are judged through a feature net, so name one with --features"
SHEET = "copies.png"
SUSPECTS = 12  # samples shown beside the training pictures that they are nearest to

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="where the scores go instead of the run folder", show_default=False),
]

Search = Annotated[
    bool,
    typer.Option("--copies/--no-copies", help="search samples for copies of training pictures, all of which are read"),
]


def write(
    request: Request,
    part: _judged.Part = "heldout",
    to: Out = None,
    copies: Search = True,
    overwrite: Overwrite = False,
) -> Answer:
    """Evaluate and write; what cannot be written is printed all the same."""
    run = _run.folder_of(request.run)
    path = to or (run or request.run) / "evaluation.json"
    _output.writable(path, folder=False, advice="give --out FILE")
    _output.free(path.parent, [path.name, SHEET], overwrite or to is None)
    source = _judged.source(request, run)
    net = request.texts["feature net"]
    if net is None and request.model.codec.encoder is None:
        raise UsageError("a generator is judged by its samples alone: name a feature net with --features")
    features = None if net is None else load_features(net).to(request.model.device)
    with progress("pictures") as tell:
        data = _judged.opened(source, request, part, tell)
        own = copies and request.model.prior is not None and part == "heldout" and request.texts["source"] is None
        training = _judged.opened(source, request, "train", tell) if own and request.values["samples"] else None
    with progress("pictures and samples") as tell:
        found = evaluate(request.model, data, features, **request.values, training=training, progress=tell)
    about: dict[str, Any] = {
        "run": request.run,
        "fingerprint": request.model.fingerprint,
        "data": source,
        "part": part,
        "data_fingerprint": data.fingerprint,
        "seconds_per_sample": found.seconds_per_sample,
    }
    with _output.surviving(path) as lost:
        _scores.write(path, found, about)
        if run is not None and to is None:
            report.write(run)  # which shows these scores
    told: list[str | Table] = [_scores.table(found) if found.scores else NOTHING, "", *found.notes]
    told += [] if lost else [f"with full protocols: {path}"]
    if found.copies and training is not None and not lost:
        with _output.surviving(path.with_name(SHEET)) as lost:
            about["copies"] = _suspects(path.with_name(SHEET), request, found, data, training)
            told.append(f"samples nearest to training pictures, above these: {about['copies']}")
    facts = {**about, "out": path, "scores": found.printed(), "notes": found.notes, "not_written": lost}
    return Answer(facts, told, int(bool(lost)))


def _suspects(path: Path, request: Request, found: Evaluation, data: Dataset, training: Dataset) -> Path:
    """A picture of the samples that are nearest to training pictures, and below each the one that it is near to."""
    model, seed, nearest = request.model, request.values["seed"], found.copies["pixels"]
    settings = next(score.model for score in found.scores if score.metric == "copies")
    closest = nearest.closest[:SUSPECTS]
    numbers = closest.tolist()
    drawn = [
        model.sample(1, seed=seed, first=number, **given(model, data, number, 1, seed), **settings)
        for number in numbers
    ]
    learnt = model.read(training.images(nearest.nearest.index[closest]))
    return grid(path, torch.cat([*drawn, learnt]), columns=len(numbers))


app = command(evaluate, write, __doc__)
