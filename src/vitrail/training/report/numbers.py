"""The few numbers that say how a run went: from its evaluation, or from its log where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from vitrail.metrics import codebook
from vitrail.metrics.protocol import Score
from vitrail.training.report.facts import Facts
from vitrail.training.report.markup import number

MOST = 6  # shown
HYPHEN = "\u2011"  # that no line breaks at

# Metric: title, unit, factor; in order of interest.
SCORES = {
    "psnr": ("Reconstruction PSNR", "dB", 1.0),
    "frechet": ("Fréchet distance", "", 1.0),
    "recognised": ("Samples recognised", "%", 100.0),
    "class_evenness": ("Evenness of the samples' classes", "%", 100.0),
    "ssim": ("Reconstruction SSIM", "", 1.0),
    "codebook_usage": ("Codes in use", "%", 100.0),
}


@dataclass(frozen=True)
class Figure:
    """A number with its name and where it is from."""

    title: str
    value: str
    unit: str = ""
    note: str = ""


def key_numbers(facts: Facts) -> list[Figure]:
    """At most MOST of them, the most telling first."""
    found = [*_evaluated(facts), *_logged(facts), *_sizes(facts)]
    first = {figure.title: figure for figure in reversed(found)}
    ordered = [figure for figure in found if first[figure.title] is figure]
    return ordered[:MOST]


def score_rows(facts: Facts) -> Iterator[tuple[str, str, str, str]]:
    """Every score with its interval and its protocol."""
    for score in facts.scores:
        interval = " to ".join(map(number, score.interval)) if score.interval else ""
        yield score.metric.replace("_", " "), f"{score.value:.4g}", interval, _protocol(score)


def _evaluated(facts: Facts) -> Iterator[Figure]:
    by_name = {score.metric: score for score in facts.scores}
    for metric, (title, unit, factor) in SCORES.items():
        if score := by_name.get(metric):
            yield Figure(title, number(score.value * factor), unit, f"on {score.n_real:,} pictures")


def _logged(facts: Facts) -> Iterator[Figure]:
    """What the last lines of the log say."""
    codec, prior = facts.lines["codec"], facts.lines["prior"]
    if codec and (psnr := codec[-1]["stats"].get("psnr")) is not None:
        yield Figure("Reconstruction PSNR", number(psnr), "dB", "last training batches")
    elif codec and codec[-1]["loss"] is not None:
        yield Figure("Codec loss", number(codec[-1]["loss"]), "", "last training batches")
    if prior and prior[-1]["loss"] is not None:
        unit = "nats" if "nats" in prior[-1]["terms"] else ""
        guessing = f"per code; guessing would be {number(math.log(facts.latent.size))}" if facts.latent.size else ""
        yield Figure("Prior", number(prior[-1]["loss"]), unit, guessing or "last training batches")


def _sizes(facts: Facts) -> Iterator[Figure]:
    if facts.counts is not None:
        use = codebook.usage(facts.counts)
        yield Figure("Codes in use", number(100 * use.usage), "%", f"of {facts.latent.size:,}, over the training set")
    if facts.latent.size:
        rate = bits(facts) / math.prod(facts.spec.space)
        ratio = f"{number(smaller(facts))} times smaller than 8{HYPHEN}bit" if rate else "one code says nothing"
        yield Figure("Rate", number(rate), "bits/pixel", ratio)
    yield Figure("Weights", f"{facts.weights:,}", "", "codec and prior" if facts.recipe.prior else "codec")
    images = sum(lines[-1]["images"] for lines in facts.lines.values() if lines)
    yield Figure("Pictures seen", f"{images:,}", "", "repetitions counted")


def bits(facts: Facts) -> float:
    """Bits of one sample's codes at fixed length."""
    return facts.latent.levels * math.prod(facts.latent.grid) * math.log2(facts.latent.size)


def smaller(facts: Facts) -> float:
    """How many times fewer bits the codes are than the 8-bit values; they must be more than none."""
    return 8 * math.prod(facts.spec.shape) / bits(facts)


def _protocol(score: Score) -> str:
    """How a score was measured, in one line."""
    told = [f"{score.n_real:,} pictures" + (f" against {score.n_fake:,} of the model" if score.n_fake else "")]
    if score.size:
        told.append(" × ".join(map(str, score.size)))
    if score.features:
        told.append(f"features {score.features} ({(score.features_sha256 or 'no checksum')[:12]})")
    told += [f"seed {score.seed}"] if score.seed is not None else []
    told += [f"{key} {value}" for key, value in {**score.settings, **score.model}.items() if value is not None]
    return ", ".join([*told, f"vitrail {score.version}"])
