"""What lies in a run folder, finished or not, read once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from vitrail.data.source import Quarantined
from vitrail.errors import UsageError
from vitrail.metrics import codebook
from vitrail.metrics.protocol import Score
from vitrail.model.build import build_codec, build_prior
from vitrail.model.recipe import Recipe, parse
from vitrail.training import status
from vitrail.types import DataSpec, LatentSpec

STAGES = ("codec", "prior")

Line = dict[str, Any]  # of metrics.jsonl


@dataclass(frozen=True)
class Facts:
    """A run as its files tell it. What is not there yet is empty."""

    run: Path
    recipe: Recipe
    source: str  # of the data, as the user wrote it
    spec: DataSpec
    environment: dict[str, Any]
    status: dict[str, Any]  # see `training.status.read`
    lines: dict[str, list[Line]]  # by stage
    scores: tuple[Score, ...]
    quarantine: tuple[Quarantined, ...]
    start: str | None = None  # the model that it began with, as the user wrote it

    @property
    def finished(self) -> bool:
        """Whether the model is there."""
        return (self.run / "model" / "config.json").exists()

    @property
    def started(self) -> datetime | None:
        """When the run was begun, on this machine's clock."""
        text = self.environment.get("started")
        return datetime.fromisoformat(text).astimezone() if text else None

    @property
    def seconds(self) -> float:
        """Time spent in all stages, encoding included, resumes added up."""
        stages = sum(lines[-1]["time"]["seconds"] for lines in self.lines.values() if lines)
        return float(stages + self.encoding.get("seconds", 0.0))

    @property
    def shown_path(self) -> str:
        """The folder as one would type it; of a full path only the name, as it means nothing elsewhere."""
        return self.run.name if self.run.is_absolute() else self.run.as_posix()

    @property
    def reads(self) -> bool:
        """Whether there is an encoder; the noise that a generator starts from comes of none."""
        return self.recipe.bottleneck.part() != "noise"

    @cached_property
    def latent(self) -> LatentSpec:
        """Shape of one sample's latent."""
        return self._sizes[0]

    @property
    def weights(self) -> int:
        """Trained numbers of codec and prior together."""
        return self._sizes[1]

    @cached_property
    def _sizes(self) -> tuple[LatentSpec, int]:
        with torch.device("meta"):
            codec = build_codec(self.recipe, self.spec)
            prior = build_prior(self.recipe, self.spec, codec)
        parts = (codec,) if prior is None else (codec, prior)
        return codec.latent_spec(), sum(weight.numel() for part in parts for weight in part.parameters())

    @cached_property
    def encoding(self) -> dict[str, Any]:
        """What the file of latents says of itself; nothing before the codec is trained."""
        if not self._latents.exists():
            return {}
        with safetensors.safe_open(self._latents, "pt") as file:
            return dict(json.loads((file.metadata() or {}).get("vitrail", "{}")))

    @cached_property
    def counts(self) -> Tensor | None:
        """(Q, K) how often each code occurs in the training set; None where there are none, or not yet, or not kept."""
        if not self.latent.size or not self._latents.exists():
            return None
        with safetensors.safe_open(self._latents, "pt") as file:
            if "latent" not in file.keys():  # noqa: SIM118
                return None
            return codebook.count(file.get_tensor("latent"), self.latent.size)

    @property
    def _latents(self) -> Path:
        return self.run / "latents" / "train.safetensors"


def read(run: Path) -> Facts:
    """The facts of a run folder. Raises UsageError where there is no run."""
    if not (run / "recipe.json").exists():
        raise UsageError(f"no run in '{run}': recipe.json is missing; name the folder that `vitrail train --out` wrote")
    told = _json(run / "recipe.json", {})
    data = {key: told["data"][key] for key in DataSpec.model_fields if key in told["data"]}
    lines = list(_lines(run / "metrics.jsonl"))
    return Facts(
        run=run,
        recipe=parse(told["recipe"]),
        source=told["data"]["source"],
        spec=DataSpec.model_validate(data),
        environment=_json(run / "environment.json", {}),
        status=status.read(run),
        lines={stage: [line for line in lines if line["stage"] == stage] for stage in STAGES},
        scores=tuple(_scores(_json(run / "evaluation.json", []))),
        quarantine=tuple(Quarantined(**fault) for fault in _json(run / "quarantine.json", [])),
        start=(told.get("from") or {}).get("model"),
    )


def _scores(tree: Any) -> Iterator[Score]:
    """Every score inside a JSON document, whatever it is wrapped in."""
    if isinstance(tree, dict) and {"metric", "value"} <= tree.keys():
        yield Score.parse(tree)
    elif isinstance(tree, dict | list):
        for inner in tree.values() if isinstance(tree, dict) else tree:
            yield from _scores(inner)


def _lines(path: Path) -> Iterator[Line]:
    """Lines of the log; the last one may be half written while training goes on."""
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        if line.endswith(b"\n"):
            yield json.loads(line)


def _json(path: Path, otherwise: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else otherwise
