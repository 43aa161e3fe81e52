"""Which charts a run's log gives: one per quantity, known ones with their unit, unknown ones all the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from vitrail.metrics import codebook
from vitrail.objectives.adversarial._adversarial import ANSWERS, Adversarial
from vitrail.training.report.charts import POINTS, Chart, Curve, thinned
from vitrail.training.report.facts import Facts, Line


@dataclass(frozen=True)
class Quantity:
    """How a number of the log is shown."""

    title: str
    unit: str = ""
    factor: float = 1.0
    log: bool = False


KNOWN = {
    "stats.psnr": Quantity("PSNR of training batches", "dB"),
    "stats.usage": Quantity("Codes in use lately", "%", factor=100),
    "stats.lowest_usage": Quantity("Codes in use lately, worst level", "%", factor=100),
    "stats.perplexity": Quantity("Perplexity lately", "codes"),
    "stats.dead": Quantity("Codes not used lately", "codes"),
    "stats.batch_usage": Quantity("Codes used within a batch", "%", factor=100),
    "stats.batch_perplexity": Quantity("Perplexity of a batch", "codes"),
    "stats.told_apart": Quantity("Data and decoder's work told apart", "%", factor=100),
    "stats.adversarial_factor": Quantity("Factor that balances the adversarial term", log=True),
    "stats.discriminator_grad_norm": Quantity("Gradient norm of the discriminator", log=True),
    "lr": Quantity("Learning rate"),
    "grad_norm": Quantity("Gradient norm", log=True),
    "time.images_per_second": Quantity("Speed", "images/s"),
}
GAME = (*ANSWERS, *Adversarial.OWN)  # terms of either side
LOGITS = ("logits_real", "logits_fake")


def of_stage(facts: Facts, stage: str) -> Iterator[Chart]:
    """The charts of a stage, the loss first."""
    lines = facts.lines[stage]
    if loss := _loss(facts, lines):
        yield loss
    yield from _game(lines)
    apart = {f"stats.{name}" for name in ("window", *LOGITS)}
    stats = sorted({f"stats.{name}" for line in lines for name in line["stats"]} - apart)
    for name in sorted({*stats, *KNOWN}, key=_order):
        if curve := _curve(lines, name):
            shown = _quantity(name)
            yield Chart(shown.title, (curve,), shown.unit, log=shown.log)


def codebook_use(facts: Facts) -> Chart | None:
    """Share of each code over the training set, the most used first, one curve per level."""
    if facts.counts is None:
        return None
    shares = facts.counts.double() / facts.counts.sum(1, keepdim=True) * 100  # (Q, K)
    size = facts.latent.size
    rank = thinned(range(1, size + 1), 2 * POINTS)
    curves = tuple(
        Curve(f"level {i + 1}", rank, thinned(level.sort(descending=True).values.tolist(), 2 * POINTS))
        for i, level in enumerate(shares)
    )
    across = "codes, the most used first"
    return Chart("Share of each code in %", curves, "%", across, levels=(("even use", 100 / size),), filled=True)


def _loss(facts: Facts, lines: list[Line]) -> Chart | None:
    """The loss, that of held-out samples and, where it is made of several, its unweighted terms; None where it was never finite."""
    names = sorted({name for line in lines for name in line["terms"]} - set(GAME))
    terms = tuple(curve for name in names if (curve := _curve(lines, f"terms.{name}")))
    total, held = _curve(lines, "loss"), _curve(lines, "heldout.loss")
    if total is None:
        return None
    both = (total,) if held is None else (total, replace(held, name="held-out loss"))
    if names == ["nats"] and facts.latent.size:
        return Chart("Surprise of the prior", both, "nats per code", levels=_without_context(facts))
    return Chart("Loss", (*both, *terms) if len(terms) > 1 else both, log=True)


def _game(lines: list[Line]) -> Iterator[Chart]:
    """What discriminator and decoder want of each other, and how the discriminator judges both sides."""
    for title, group, names in (("The game's terms", "terms", GAME), ("Discriminator's judgements", "stats", LOGITS)):
        if curves := tuple(curve for name in names if (curve := _curve(lines, f"{group}.{name}"))):
            yield Chart(title, curves)


def _without_context(facts: Facts) -> tuple[tuple[str, float], ...]:
    """What a prior pays that knows how often codes occur, but not which ones stand together."""
    if facts.counts is None:
        return ()
    return (("codes drawn one by one", codebook.usage(facts.counts).bits * math.log(2)),)


def _quantity(name: str) -> Quantity:
    return KNOWN.get(name) or Quantity(name.rpartition(".")[2].replace("_", " ").capitalize())


def _curve(lines: list[Line], name: str) -> Curve | None:
    """A quantity over steps, without the lines that have no value of it."""
    factor = _quantity(name).factor
    points = [(line["step"], value * factor) for line in lines if (value := _value(line, name)) is not None]
    if not points:
        return None
    x, y = zip(*points, strict=True)
    return Curve(name.rpartition(".")[2].replace("_", " "), x, y)


def _value(line: Line, name: str) -> float | None:
    group, _, inner = name.rpartition(".")
    value = (line.get(group) or {}).get(inner) if group else line.get(inner)
    return None if value is None else float(value)


def _order(name: str) -> tuple[bool, int, str]:
    """Known statistics, unknown ones, then how the optimiser and the machine fared."""
    known = list(KNOWN)
    return not name.startswith("stats."), known.index(name) if name in known else len(known), name
