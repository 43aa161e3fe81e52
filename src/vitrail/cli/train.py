"""Train a recipe on your own pictures, or resume.

First the codec, then its prior. The same command again goes on from the last checkpoint.

    vitrail train vqvae --data photos/ --out runs/photos --budget 30min
    vitrail train vqvae --data fashion-mnist --out runs/fine --set bottleneck.size=1024 --set training.codec.lr=5e-4
    vitrail train --config runs/fine/recipe.json --data fashion-mnist --out runs/again --seed 1
    vitrail train vqvae --data photos/ --budget 30min --dry-run
    vitrail train --from runs/ae --set bottleneck=fsq --data fashion-mnist --out runs/discrete

`vitrail recipes` lists the recipes, `vitrail recipes show NAME` every field that --set can change.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from vitrail.cli import _judged, _output, _recipe, _scores, _sources
from vitrail.cli._command import Answer, Table, single
from vitrail.cli._options import Set
from vitrail.cli._refusal import Mistakes, first_process
from vitrail.cli._show import progress
from vitrail.data.dataset import open_dataset
from vitrail.errors import NotLearnt
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe
from vitrail.tasks._likelihood import Measure, measure_of
from vitrail.tasks.evaluate import Evaluation, evaluate
from vitrail.training import checkup, learnt, report, run
from vitrail.training.forecast import forecast
from vitrail.training.progress import displayed

BRIEF = 2000  # held-out pictures that the table after training is of

Name = Annotated[str | None, typer.Argument(metavar="RECIPE", help="name of a recipe", show_default=False)]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="SOURCE", help="a folder of pictures, a file of arrays, or a named set", show_default=False
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="RUN", help="the run folder", show_default=False), _output.PASSED_OVER
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="BUDGET",
        help="for all stages: '20000 steps', '10 epochs', '2M images', 90s, 6min or 2h; default: the recipe's",
    ),
]
Seed = Annotated[
    str | None,
    typer.Option("--seed", metavar="NUMBER", help="of weights, data order and augmentation; default: the recipe's"),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="a recipe's printed form, YAML or JSON, such as a run's recipe.json"),
]

Required = Annotated[
    bool,
    typer.Option("--require-learnt", help="exit with 6 where a stage ended without having learnt anything"),
]

DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="train nothing; time some steps and tell what the budget will buy on this machine"),
]

From = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="begin with the weights of this run or model, as far as they fit; without RECIPE also with its recipe",
        show_default=False,
    ),
]


def train(
    recipe: Name = None,
    data: Data = None,
    out: Out = None,
    budget: Budget = None,
    seed: Seed = None,
    set: Set = None,
    config: Config = None,
    start: From = None,
    require_learnt: Required = False,
    dry_run: DryRun = False,
) -> Answer:
    """Train, then score the held-out pictures briefly. Raises NotLearnt where that is asked for."""
    with Mistakes() as mistakes:
        flags = {"training.budget": budget, "training.seed": seed}
        chosen = _recipe.chosen(recipe, config, set or [], flags, mistakes, start)
        _sources.check(data, mistakes)
        if out is None and not dry_run:
            mistakes.add("--out is missing; it names the run folder, for example --out runs/first")
    assert chosen is not None
    assert data is not None
    if dry_run:
        return _foreseen(chosen, data)
    assert out is not None
    model = _trained(chosen, data, out, start)
    if not first_process():
        return Answer({})
    about, found = _evaluated(model, data, out)
    if require_learnt and (missing := [each for each in checkup.read(out) if each.name in learnt.NAMES]):
        raise NotLearnt(f"{out} has not learnt: {missing[-1]}")
    return _answer(about, found, out, model)


def _foreseen(recipe: Recipe, data: str) -> Answer:
    with progress("pictures") as reading:
        found = [*forecast(recipe, data, reading)]
    told = [str(each) for each in found] or ["this recipe trains nothing by steps"]
    return Answer({"recipe": recipe.name, "data": data, "stages": [asdict(each) for each in found]}, told)


def _trained(recipe: Recipe, data: str, out: Path, start: Path | None) -> Model:
    with progress("pictures") as reading, displayed() if first_process() else nullcontext() as show:
        return run.train(recipe, data, out, start=start, show=show, reading=reading)


def _evaluated(model: Model, data: str, out: Path) -> tuple[dict[str, Any], Evaluation]:
    """What was scored, and the scores; those that are there already of the same model stay."""
    if (there := _scores.read(out / "evaluation.json", model.fingerprint)) is not None:
        return there
    channels, height, width = model.spec.shape
    with progress("held-out pictures") as tell:
        heldout = open_dataset(data, model.recipe.data, "heldout", shape=(channels, height, width), progress=tell)
        if not len(heldout):
            return {"run": out, "fingerprint": model.fingerprint, "data": data}, Evaluation(
                (), notes=(_judged.NOTHING,)
            )
        measure = measure_of(model, 0)
        brief = not model.codec.learns and isinstance(measure, Measure) and not measure.passes  # one pass each
        found = evaluate(model, heldout, limit=BRIEF, likelihood=BRIEF if brief else 0, progress=tell)
    about: dict[str, Any] = {"run": out, "fingerprint": model.fingerprint, "data": data, "part": "heldout"}
    about["data_fingerprint"] = heldout.fingerprint
    with _output.surviving(out / "evaluation.json"):
        _scores.write(out / "evaluation.json", found, about)
        report.write(out)
    return about, found


def _answer(about: dict[str, Any], found: Evaluation, out: Path, model: Model) -> Answer:
    samples = sorted((out / "samples").glob("*.png")) if (out / "samples").is_dir() else []
    paths = {"model": out / "model", "report": out / "report.html", "pictures": out / "samples"}
    there = {name: path for name, path in paths.items() if path.exists()}
    told: list[str | Table] = [_scores.table(found)] if found.scores else [*found.notes]
    told += [""] * bool(told)
    told += [f"{name:9} {path}" for name, path in there.items()]
    findings = checkup.read(out)
    told += [f"finding   {finding}" for finding in findings]
    told += [f"next      {command}" for command in _next(out, model)]
    scored = {"evaluation": out / "evaluation.json" if found.scores else None, "scores": found.printed()}
    facts = {**about, **there, "samples": samples, **scored, "notes": found.notes}
    return Answer({**facts, "findings": [asdict(finding) for finding in findings]}, told)


def _next(out: Path, model: Model) -> list[str]:
    """What to do with the model, as commands."""
    if model.prior is None:
        return [f"vitrail reconstruct {out} PICTURES --out {out / 'reconstructed'}"]
    given = " --condition PICTURE" if model.prior.conditional else " --prompt TEXT" if model.prior.captions else ""
    return [
        f"vitrail sample {out}{given} --out {out / 'drawn'}",
        f"vitrail evaluate {out} --features FEATURES (a feature net judges samples: vitrail features train)",
    ]


app = single(train, __doc__)
