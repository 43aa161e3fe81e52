"""The picture of a sampling study: what each cell costs in time, and gives in quality."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vitrail.studies.grid import shown
from vitrail.studies.ledger import Result, Sweep
from vitrail.studies.picture import HEIGHT, MARKERS, WIDTH
from vitrail.studies.sampling_table import PREFIX, SECONDS, best, judged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {"frechet": "Frechet distance, lower is better", "recall": "recall", "recognised": "samples recognised"}
STEPS = f"{PREFIX}steps"


def picture(sweep: Sweep) -> bytes | None:
    """A PNG with one panel a measure; None while there is nothing to show."""
    from matplotlib.figure import Figure

    found = judged(sweep)
    panels = [metric for metric in PANELS if any(each.score(metric) is not None for each in found)]
    if not panels:
        return None
    figure = Figure(figsize=(WIDTH * len(panels), HEIGHT), dpi=120, layout="constrained", facecolor="white")
    for axes, metric in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, found, metric, best(sweep))
    figure.suptitle(f"{sweep.base['name']} on {sweep.origin.source}", fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _panel(axes: Axes, found: Sequence[Result], metric: str, chosen: Result | None) -> None:
    series: dict[str, list[Result]] = {}
    for each in found:
        if each.score(metric) is not None:
            series.setdefault(_name(each), []).append(each)
    for (name, members), marker in zip(series.items(), MARKERS * len(series), strict=False):
        x = [each.cost[SECONDS] for each in members]
        y = [each.score(metric) or 0.0 for each in members]
        axes.plot(x, y, marker=marker, markersize=6, linewidth=1, label=name)
        for each, at in zip(members, zip(x, y, strict=True), strict=True):
            steps = shown(each.settings[STEPS]) if STEPS in each.settings else ""
            axes.annotate(steps, at, xytext=(5, 4), textcoords="offset points", fontsize=7, color="0.3")
    if chosen is not None and chosen.score(metric) is not None:
        axes.plot(
            chosen.cost[SECONDS],
            chosen.score(metric) or 0.0,
            "o",
            markersize=14,
            markerfacecolor="none",
            markeredgecolor="black",
            label="best",
        )
    axes.set_xscale("log")
    axes.set_xlabel("seconds per sample; the figures are steps")
    axes.set_ylabel(PANELS[metric])
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7)


def _name(result: Result) -> str:
    """All settings but the steps, along which the lines go."""
    rest = {key.removeprefix(PREFIX): value for key, value in result.settings.items() if key != STEPS}
    return " ".join(f"{key}={shown(value)}" for key, value in rest.items()) or "steps"
