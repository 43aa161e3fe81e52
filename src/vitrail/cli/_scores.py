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
    """Every score with its interval and what it is of."""
    rows = [(each.metric, value(each), interval(each), _protocol(each)) for each in evaluation.scores]
    return Table(("score", "value", "95 % interval", "measured on"), rows)


def write(path: Path, evaluation: Evaluation, about: dict[str, Any]) -> None:
    """The scores with their protocols, and what they are of, as JSON. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(as_json({**about, "scores": evaluation.printed()}), indent=1)
    durable.write_file(path, content.encode(), through=True)


def read(path: Path, fingerprint: str) -> tuple[dict[str, Any], Evaluation] | None:
    """What `write` wrote of the model with this fingerprint; None where there is nothing of it."""
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if told.pop("fingerprint", None) != fingerprint:
        return None
    scores = tuple(map(Score.parse, told.pop("scores")))
    return {**told, "fingerprint": fingerprint}, Evaluation(scores)


def value(score: Score) -> str:
    """With its unit."""
    number = figure(score.metric, score.value)
    return f"{number} {UNITS[score.metric]}" if score.metric in UNITS else number


def interval(score: Score) -> str:
    """Empty where there is none."""
    return " to ".join(figure(score.metric, end) for end in score.interval) if score.interval else ""


def figure(metric: str, number: float) -> str:
    """A number as a metric is usually told."""
    if metric in SHARES or "copies" in metric:
        return f"{number:.1%}"
    return f"{number:.4f}" if abs(number) < 10 else f"{number:.2f}"


def _protocol(score: Score) -> str:
    parts = [f"{score.n_real} pictures"] if score.n_real else []
    if score.n_fake is not None:
        parts.append(f"{score.n_fake} of the model")
    if score.features is not None:
        parts.append(f"features {score.features} {(score.features_sha256 or '')[:8]}")
    told = {**score.settings, **score.model}
    parts += [f"{name} {value}" for name, value in told.items() if value is not None and name != "highest"]
    return ", ".join(parts)
