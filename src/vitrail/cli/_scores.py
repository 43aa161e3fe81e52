"""Evaluations for people and as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vitrail import durable
from vitrail.cli._command import Table, as_json
from vitrail.metrics.protocol import Score
from vitrail.tasks.evaluate import Evaluation

SHARES = ("codebook_usage", "recognised", "class_evenness", "classifier_accuracy")
UNITS = {"psnr": "dB", "psnr_of_mean_error": "dB", "bits_per_token": "bits", "bits_per_pixel": "bits"}


def table(evaluation: Evaluation) -> Table:
    """Every score with what it is of."""
    return Table(
        ("score", "value", "measured on"), [(each.metric, _value(each), _protocol(each)) for each in evaluation.scores]
    )


def write(path: Path, evaluation: Evaluation, about: dict[str, Any]) -> None:
    """The scores with their protocols, and what they are of, as JSON. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(as_json({**about, "scores": evaluation.printed()}), indent=1)
    durable.write_file(path, content.encode(), through=True)


def _value(score: Score) -> str:
    if score.metric in SHARES:
        return f"{score.value:.1%}"
    number = f"{score.value:.4f}" if abs(score.value) < 10 else f"{score.value:.2f}"
    return f"{number} {UNITS[score.metric]}" if score.metric in UNITS else number


def _protocol(score: Score) -> str:
    parts = [f"{score.n_real} pictures"]
    if score.n_fake is not None:
        parts.append(f"{score.n_fake} of the model")
    if score.features is not None:
        parts.append(f"features {score.features} {(score.features_sha256 or '')[:8]}")
    parts += [f"{name} {value}" for name, value in score.settings.items() if value is not None and name != "highest"]
    return ", ".join(parts)
