"""Score a model: reconstructions, codebook, samples.

Samples are judged only where --features names a feature net. Judges by the held-out part of the run's own data unless
--data names another source. The scores are printed with their protocol and written to evaluation.json in the run
folder, or to --out.

    vitrail evaluate runs/fashion --features features/fashion --samples 10000
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli import _judged, _run, _scores
from vitrail.cli._command import Answer
from vitrail.cli._show import progress
from vitrail.cli._task import Request, command
from vitrail.errors import UsageError
from vitrail.networks.features import load_features
from vitrail.tasks.evaluate import evaluate
from vitrail.training import report

Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="where the scores go instead of the run folder", show_default=False),
]


def write(request: Request, part: _judged.Part = "heldout", to: Out = None) -> Answer:
    """Evaluate and write."""
    run = _run.folder_of(request.run)
    source = _judged.source(request, run)
    net = request.texts["feature net"]
    if net is None and request.model.codec.encoder is None:
        raise UsageError("a generator is judged by its samples alone: name a feature net with --features")
    features = None if net is None else load_features(net).to(request.model.device)
    with progress("pictures") as tell:
        data = _judged.opened(source, request, part, tell)
    with progress("pictures and samples") as tell:
        found = evaluate(request.model, data, features, **request.values, progress=tell)
    about = {
        "run": request.run,
        "fingerprint": request.model.fingerprint,
        "data": source,
        "part": part,
        "data_fingerprint": data.fingerprint,
    }
    path = to or (run or request.run) / "evaluation.json"
    _scores.write(path, found, about)
    if run is not None and to is None:
        report.write(run)  # which shows these scores
    return Answer(
        {**about, "out": path, "scores": found.printed()}, [_scores.table(found), f"\nwith full protocols: {path}"]
    )


app = command(evaluate, write, __doc__)
