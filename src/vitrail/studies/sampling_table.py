"""The table of a sampling study, and which cell is the best."""

from __future__ import annotations

from vitrail.studies.grid import shown
from vitrail.studies.ledger import Result, Sweep
from vitrail.studies.table import Table

PREFIX = "prior.sampling."
SECONDS, CALLS = "seconds_per_sample", "calls"
SLACK = 0.02  # how much worse than the lowest Frechet distance the best may be where it is cheaper
BEST = "*"
METRICS = {  # heading and number format of each; a metric that no cell has gets no column
    "frechet": ("Frechet distance", "{:.4g}"),
    "precision": ("precision", "{:.3f}"),
    "recall": ("recall", "{:.3f}"),
    "recognised": ("recognised", "{:.1%}"),
}


def judged(sweep: Sweep) -> list[Result]:
    """Finished cells, the cheapest first."""
    found = [each for each in sweep.results.values() if each.state == "finished" and each.score("frechet") is not None]
    return sorted(found, key=lambda each: each.cost[SECONDS])


def best(sweep: Sweep) -> Result | None:
    """The cheapest cell whose Frechet distance is within SLACK of the lowest: so small a gain is seldom more than chance."""
    found = judged(sweep)
    if not found:
        return None
    limit = (1 + SLACK) * min(_frechet(each) for each in found)
    return next(each for each in found if _frechet(each) <= limit)


def table(sweep: Sweep) -> Table:
    """One row a cell, the best quality first; columns in which nothing stands are left out."""
    found = sorted(judged(sweep), key=_frechet)
    failed = [each for each in sweep.results.values() if each.state == "failed"]
    rows, chosen = [*found, *failed], best(sweep)
    keys = dict.fromkeys(key for each in rows for key in each.settings)
    columns = {key.removeprefix(PREFIX): [_setting(each, key) for each in rows] for key in keys}
    columns |= {heading: [_score(each, name, form) for each in rows] for name, (heading, form) in METRICS.items()}
    columns["95 % interval"] = [_interval(each) for each in rows]
    columns["seconds per sample"] = [f"{each.cost[SECONDS]:.4f}" if each.cost else "" for each in rows]
    columns["network calls"] = [f"{each.cost[CALLS]:.0f}" if each.cost else "" for each in rows]
    columns["best"] = [BEST if chosen is not None and each.digest == chosen.digest else "" for each in rows]
    columns["failed"] = [each.error if each.state == "failed" else "" for each in rows]
    kept = {heading: cells for heading, cells in columns.items() if any(cells)}
    return Table(tuple(kept), tuple(zip(*kept.values(), strict=True)))


def caption(sweep: Sweep) -> str:
    """What the numbers are of."""
    scores = [score for each in judged(sweep) for score in each.scores if score["metric"] == "frechet"]
    told = [f"Data: {sweep.origin.source}."]
    if scores:
        net = f"{scores[0]['features']} {scores[0]['features_sha256'][:8]}"
        told.append(f"{scores[0]['n_fake']} samples against {scores[0]['n_real']} pictures, feature net {net}.")
    return " ".join([*told, f"{BEST}: the cheapest within {SLACK:.0%} of the lowest Frechet distance."])


def markdown(sweep: Sweep) -> str:
    """The same as a page."""
    made = table(sweep)
    lines = [made.headings, ("---",) * len(made.headings), *made.rows] if made.headings else []
    cells = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"# Sampling of {sweep.base['name']}\n\n{caption(sweep)}\n\n{cells}\n"


def _frechet(result: Result) -> float:
    value = result.score("frechet")
    assert value is not None
    return value


def _setting(result: Result, key: str) -> str:
    return shown(result.settings[key]) if key in result.settings else ""


def _score(result: Result, metric: str, form: str) -> str:
    value = result.score(metric)
    return "" if value is None else form.format(value)


def _interval(result: Result) -> str:
    """Of the Frechet distance."""
    ends = next((score["interval"] for score in result.scores if score["metric"] == "frechet"), None)
    return " to ".join(f"{end:.4g}" for end in ends) if ends else ""
