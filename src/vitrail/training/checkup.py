"""The collapse doctor: looks at every line of a stage's log, and tells each finding once per run.

Findings are logged as warnings and kept in findings.jsonl in the run folder, where a resumed run sees what was told.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail import durable
from vitrail.codecs.codec import Codec
from vitrail.metrics import codebook
from vitrail.model.recipe import Recipe
from vitrail.training.budget import Budget
from vitrail.training.findings import WARM, Condition, Finding, judged

FILE = "findings.jsonl"
PICTURES = 1 << 14  # of the training set, that positions are judged by

logger = logging.getLogger(__name__)


class Checkup:
    """Watches one codec in one run folder."""

    def __init__(self, folder: Path, recipe: Recipe, codec: Codec, budget: Budget, samples: int) -> None:
        self.path, self.recipe, self.budget = folder / FILE, recipe, budget.resolved(samples)
        spec = codec.latent_spec()
        self.size, self.vectors = spec.size, samples * math.prod(spec.grid)
        self.early: dict[str, float] | None = None  # terms of the first line after the warm-up
        self.last: Condition | None = None
        self.told = {each.name for each in read(folder)}
        for line in _lines(folder / "metrics.jsonl"):
            if line["stage"] == "codec":
                self._note(line)

    def hear(self, line: Mapping[str, Any]) -> None:
        """Judge a line of the log as soon as it is written."""
        self._tell(self._note(line))

    def look(self, codec: Codec, codes: Tensor) -> None:
        """Judge what can only be seen in the codes (N, Q, *S) of the whole training set."""
        if self.last is None:
            return
        some = codes[:: max(1, len(codes) // PICTURES)]
        bits = codebook.position_bits(some, self.size).flatten().tolist()
        points, counts = codec.bottleneck.codebook(0).detach().cpu(), codebook.count(some, self.size)[0]
        rim = codebook.outermost(points, counts)
        self._tell(replace(self.last, progress=1.0, position_bits=tuple(bits), outermost=rim))

    def _tell(self, condition: Condition) -> None:
        """Warn of what this run was not yet told of."""
        for finding in judged(condition, self.told):
            self.told.add(finding.name)
            tell(self.path.parent, finding)

    def _note(self, line: Mapping[str, Any]) -> Condition:
        """The condition that a line tells of; the first after the warm-up is remembered to compare with."""
        stats, terms, moving = (_finite(line.get(group, {})) for group in ("stats", "terms", "weights"))
        progress = self.budget.progress(line["step"], line["images"], line["time"]["seconds"])
        if self.early is None and progress >= WARM:
            self.early = terms
        fixed = {name: each for name, each in self.recipe.weights.items() if isinstance(each, int | float)}
        self.last = Condition(
            recipe=self.recipe,
            step=line["step"],
            progress=progress,
            size=self.size,
            vectors=self.vectors,
            stats=stats,
            terms=terms,
            weights={**fixed, **moving},
            early=self.early or {},
        )
        return self.last


def tell(folder: Path, finding: Finding) -> None:
    """Warn of a finding, unless this run was told in the same words, and keep it in the run folder."""
    if str(finding) in map(str, read(folder)):
        return
    logger.warning("%s", finding)
    with durable.storing(folder / FILE), (folder / FILE).open("a", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(asdict(finding)) + "\n")


def read(folder: Path) -> tuple[Finding, ...]:
    """What a run was warned of, in order; a line that was never finished is left out."""
    found = ({**line, "fixes": tuple(line["fixes"])} for line in _lines(folder / FILE))
    return tuple(Finding(**each) for each in found)


def _lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a JSONL file; none where there is no file."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def _finite(numbers: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}
