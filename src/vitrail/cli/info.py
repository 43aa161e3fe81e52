"""Say what a run or a model is, and how far its training is.

vitrail info runs/fashion
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import nn

from vitrail.cli import _run
from vitrail.cli._command import Answer, Table, single
from vitrail.errors import ModelError
from vitrail.model import folder
from vitrail.model.model import Model
from vitrail.model.recipe import SLOTS
from vitrail.training import status
from vitrail.training.progress import duration

Run = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder or a model folder")]


def info(run: Run) -> Answer:
    """Facts of the run folder, and of the model where there is one already."""
    home = _run.folder_of(run)
    facts: dict[str, Any] = {"run": run}
    if home is not None:
        facts |= {"data": _run.recipe_of(home).get("data"), "status": status.read(home)}
    try:
        facts |= about(folder.load(run))
    except ModelError:
        if home is None or (home / "model" / "config.json").exists():
            raise
        facts |= {"recipe": _run.recipe_of(home).get("recipe"), "fingerprint": None}  # still in training
    return Answer(facts, [Table((), list(_rows(facts).items()))])


def about(model: Model) -> dict[str, Any]:
    """What a model is, in JSON's terms."""
    spec, latent = model.spec, model.codec.latent_spec()
    tokens = latent.levels * math.prod(latent.grid)
    return {
        "recipe": model.recipe.printed(),
        "fingerprint": model.fingerprint,
        "shape": spec.shape,
        "classes": spec.classes,
        "any_size": model.codec.stride > 0,
        "latent": {"shape": latent.shape, "grid": latent.grid, "levels": latent.levels, "codes": latent.size},
        "bits_per_pixel": tokens * math.log2(latent.size) / math.prod(spec.space) if latent.size else None,
        "weights": {
            "codec": _weights(model.codec),
            "prior": _weights(model.prior) if model.prior is not None else None,
        },
    }


def _rows(facts: Mapping[str, Any]) -> dict[str, str]:
    """The same for a person."""
    recipe, data, where = facts["recipe"], facts.get("data"), facts.get("status")
    rows = {"recipe": recipe["name"], **{slot: recipe[slot]["name"] for slot in SLOTS if recipe.get(slot)}}
    rows |= _sampling(recipe)
    if read := recipe["data"].get("captions"):
        rows["captions"] = f"the first {read} bytes of each"
    rows["fingerprint"] = facts["fingerprint"] or "none yet: training has not finished"
    if data:
        rows["data"] = f"{data['source']} (fingerprint {data['fingerprint']})"
    if "latent" in facts:
        rows |= _sizes(facts)
    if where:
        rows["training"] = _training(where)
    return rows


def _sampling(recipe: Mapping[str, Any]) -> dict[str, str]:
    """What samples are drawn with unless the user says otherwise; what is not set is left out."""
    settings = (recipe.get("prior") or {}).get("sampling", {})
    told = [f"{key}={value}" for key, value in settings.items() if value is not None]
    return {"drawn with": " ".join(told)} if told else {}


def _sizes(facts: Mapping[str, Any]) -> dict[str, str]:
    latent, weights, rate = facts["latent"], facts["weights"], facts["bits_per_pixel"]
    grid = "x".join(map(str, latent["grid"] if latent["codes"] else latent["shape"][1:])) or "1"
    codes = (
        f"{latent['levels']} x {grid} codes of {latent['codes']}, {rate:.3f} bits per pixel"
        if latent["codes"]
        else f"{latent['shape'][0]} x {grid} numbers"
    )
    prior = f"{weights['prior']:,}" if weights["prior"] is not None else "none"
    return {
        "pictures": f"{'x'.join(map(str, facts['shape']))} (channels, height, width){', or any size' if facts['any_size'] else ''}",
        "classes": ", ".join(facts["classes"]) or "none",
        "latent": codes,
        "weights": f"codec {weights['codec']:,}, prior {prior}",
    }


def _training(where: Mapping[str, Any]) -> str:
    state, eta = where["state"], where.get("eta_seconds")
    if "stage" not in where:
        said = f"{state}, before the first step"
    else:
        said = f"{state}: {where['stage']}, step {where.get('step')}, {where.get('progress') or 0:.0%}"
    if state == "running" and eta is not None:
        return f"{said}, {duration(eta)} left of this stage"
    return said if state in ("running", "finished") else f"{said}; the same `vitrail train` command goes on from there"


def _weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


app = single(info, __doc__)
