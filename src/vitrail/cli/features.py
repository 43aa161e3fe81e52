"""Train a small feature net, by which sets of pictures compare.

It learns from your own pictures; `vitrail evaluate --features` uses it.

    vitrail features train --data photos/ --out features/photos
    vitrail features info features/photos
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from vitrail import catalog
from vitrail.cli import _sources
from vitrail.cli._command import Answer, group
from vitrail.cli._refusal import Mistakes
from vitrail.cli._show import progress
from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_parts
from vitrail.model.recipe import read_settings
from vitrail.networks.features import load_features
from vitrail.training import budget as budgets
from vitrail.training.features import train_features
from vitrail.training.progress import displayed

Data = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="SOURCE", help="a folder of pictures, a file of arrays, or a named set", show_default=False
    ),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="folder for the net", show_default=False)]
Budget = Annotated[str, typer.Option("--budget", metavar="BUDGET", help="'2000 steps', '10 epochs', 90s, 3min")]
Seed = Annotated[int, typer.Option("--seed", metavar="NUMBER", min=0, help="of weights and data order")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="how data is read, such as data.size=64; may be repeated"),
]
Net = Annotated[str, typer.Argument(metavar="FEATURES", help="folder of a feature net, or a weight file")]


def train(data: Data = None, out: Out = None, budget: Budget = "3min", seed: Seed = 0, set: Set = None) -> Answer:
    """Train a feature net on your own pictures.

    It learns to tell classes apart where the data has them, else how far a picture was turned. Pictures are read as
    `vitrail train` reads them; give the same data settings as the runs that it is to judge.

        vitrail features train --data photos/ --out features/photos --budget 3min
    """
    with Mistakes() as mistakes:
        config = _config(set or [], mistakes)
        with mistakes.noted():
            budgets.read(budget)
        _sources.check(data, mistakes)
        if out is None:
            mistakes.add("--out is missing; it names the folder for the net")
    assert data is not None
    assert out is not None
    with progress("pictures") as tell:
        parts = open_parts(data, config, progress=tell)
    with displayed() as show:
        made = train_features(*parts, out, budget=budget, seed=seed, show=show)
    right = (
        f"{made.accuracy:.1%} of held-out pictures right"
        if made.accuracy is not None
        else "nothing held out to judge by"
    )
    return Answer(
        asdict(made), [f"feature net in {out}: {made.task}, {right}, {made.steps} steps in {made.seconds:.0f} s"]
    )


def info(features: Net) -> Answer:
    """Say what a feature net is and how it was made.

    vitrail features info features/photos
    """
    net = load_features(features)
    config = Path(features) / "config.json"
    record: dict[str, Any] = (
        json.loads(config.read_text(encoding="utf-8")).get("record", {}) if config.is_file() else {}
    )
    count = sum(parameter.numel() for parameter in net.parameters())
    facts = {"net": net.name, "sha256": net.sha256, "width": net.width, "weights": count, "record": record}
    told = [f"{net.name}: {net.width} features, {count:,} weights, sha256 {net.sha256[:16]}"]
    return Answer(facts, told + [f"{key}: {value}" for key, value in record.items()])


def _config(settings: list[str], mistakes: Mistakes) -> DataConfig:
    """The data settings of `--set data.size=64`."""
    changes: dict[str, Any] = {}
    for setting in settings:
        with mistakes.noted():
            changes |= read_settings([setting])
    for key in [key for key in changes if not key.startswith("data.")]:
        mistakes.add(f"--set {key}: only data settings, such as data.size=64, apply here")
        del changes[key]
    try:
        return DataConfig.model_validate({key.removeprefix("data."): value for key, value in changes.items()})
    except ValidationError as error:
        for found in error.errors():
            name, message = str(found["loc"][0]), found["msg"]
            unknown = found["type"] == "extra_forbidden"
            mistakes.add(
                f"data.{name}: "
                + (
                    f"unknown field{catalog.nearest(name, tuple(DataConfig.model_fields))}"
                    if unknown
                    else f"{message[0].lower()}{message[1:]}, got {found['input']!r}"
                )
            )
        return DataConfig()


app = group(__doc__, train=train, info=info)
