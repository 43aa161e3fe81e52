"""Score a model: reconstructions, codebook, samples.

Samples are judged only where --features names a feature net. Judges by the held-out part of the run's own data unless
--data names another source. The scores are printed with their protocol and written to evaluation.json in the run
folder, or to --out.

    vitrail evaluate runs/fashion --features features/fashion --samples 10000
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vitrail.cli import _run, _scores
from vitrail.cli._command import Answer
from vitrail.cli._show import progress
from vitrail.cli._task import Request, command
from vitrail.data.dataset import Dataset, open_dataset
from vitrail.errors import UsageError
from vitrail.networks.features import load_features
from vitrail.tasks.evaluate import evaluate
from vitrail.training import report

Part = Annotated[
    Literal["heldout", "train", "all"], typer.Option("--part", help="which part of the source to judge by")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="where the scores go instead of the run folder", show_default=False),
]


def write(request: Request, part: Part = "heldout", to: Out = None) -> Answer:
    """Evaluate and write."""
    run = _run.folder_of(request.run)
    source = request.texts["source"] or _own_source(run, request.run)
    net = request.texts["feature net"]
    features = None if net is None else load_features(net).to(request.model.device)
    with progress("pictures") as tell:
        data = opened(source, request, part, tell)
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


def opened(source: str, request: Request, part: Any, tell: Any) -> Dataset:
    """The pictures to judge by, in the model's shape."""
    model = request.model
    channels, height, width = model.spec.shape
    return open_dataset(source, model.recipe.data, part, shape=(channels, height, width), progress=tell)


def _own_source(run: Path | None, path: Path) -> str:
    if run is None:
        raise UsageError(f"--data is missing: {path} is a model without its run folder, so its data is not known")
    return str(_run.recipe_of(run)["data"]["source"])


app = command(evaluate, write, __doc__)
