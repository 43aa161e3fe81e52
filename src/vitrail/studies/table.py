"""The table of a sweep, as cells of text and as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from vitrail.studies.grid import shown
from vitrail.studies.ledger import Sweep
from vitrail.studies.summary import RATE, Row, best, keys, rows
from vitrail.training.progress import duration

FRONT = "*"
METRICS = {  # heading and number format of each; a metric that no row has gets no column
    "psnr": ("PSNR (dB)", "{:.2f}"),
    RATE: ("bits per pixel", "{:.3f}"),
    "codebook_usage": ("codes used", "{:.1%}"),
    "codebook_perplexity": ("perplexity", "{:.0f}"),
    "reconstruction_frechet": ("Frechet distance, reconstructed", "{:.3g}"),
    "frechet": ("Frechet distance, sampled", "{:.3g}"),
}


@dataclass(frozen=True)
class Table:
    """Rows under headings, all text."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(sweep: Sweep) -> Table:
    """One row a combination, by bits per pixel; columns in which nothing stands are left out."""
    found = rows(sweep)
    columns = {key: [_setting(row, key) for row in found] for key in keys(found)}
    columns |= {heading: [_score(row, metric, form) for row in found] for metric, (heading, form) in METRICS.items()}
    columns["best"] = [FRONT if front else "" for front in best(found)]
    columns["seeds"] = [str(len(row.finished) or "") for row in found]
    columns["steps"] = [_mean(row, lambda each: each.steps, "{:.0f}") for row in found]
    columns["training"] = [_time(row) for row in found]
    columns["unfinished"] = [_problem(row) for row in found]
    kept = {heading: cells for heading, cells in columns.items() if any(cells)}
    return Table(tuple(kept), tuple(zip(*kept.values(), strict=True)))


def markdown(sweep: Sweep) -> str:
    """The same as a page that says what was done."""
    made = table(sweep)
    lines = [made.headings, ("---",) * len(made.headings), *made.rows]
    cells = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"# Sweep of {sweep.base['name']}\n\n{caption(sweep)}\n\n{cells}\n"


def caption(sweep: Sweep) -> str:
    """What the numbers are of, in a few sentences."""
    told = [f"Data: {sweep.origin.source}.", *(f"Budget of each cell: {each}." for each in shared_budget(sweep))]
    scores = [score for each in sweep.results.values() for score in each.scores]
    pictures = {str(score["n_real"]) for score in scores}
    nets = {f"{score['features']} {score['features_sha256'][:8]}" for score in scores if score["features"]}
    if pictures:
        told.append(f"Scores of {' or '.join(sorted(pictures))} held-out pictures.")
    if nets:
        told.append(f"Feature net: {', '.join(sorted(nets))}.")
    if any(len(row.finished) > 1 for row in rows(sweep)):
        told.append("Means over seeds ± one standard deviation.")
    return " ".join([*told, f"{FRONT}: nothing else has as good a PSNR for fewer bits."])


def shared_budget(sweep: Sweep) -> list[str]:
    """The budget, unless it is what was varied."""
    swept = {key for each in sweep.results.values() for key in each.settings}
    return [] if swept & {"training.budget", "training.steps"} else [sweep.base["training.budget"]]


def _setting(row: Row, key: str) -> str:
    return shown(row.settings[key]) if key in row.settings else ""


def _score(row: Row, metric: str, form: str) -> str:
    mean, spread = row.mean(metric), row.spread(metric)
    if mean is None:
        return ""
    varies = spread is not None and metric != RATE  # which is a setting rather than a measurement
    return form.format(mean) + (f" ± {form.replace('3g', '2g').format(spread)}" if varies else "")


def _mean(row: Row, value: Callable[..., float], form: str) -> str:
    return form.format(fmean(map(value, row.finished))) if row.finished else ""


def _time(row: Row) -> str:
    return duration(fmean(each.trained_seconds for each in row.finished)) if row.finished else ""


def _problem(row: Row) -> str:
    left = [each for each in row.results if each.state != "finished"]
    told = dict.fromkeys(each.state + (f": {each.error}" if each.error else "") for each in left)
    count = f"{len(left)} of {len(row.results)} " if left and len(row.results) > 1 else ""
    return count + "; ".join(told)
