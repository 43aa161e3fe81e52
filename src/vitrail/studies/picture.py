"""The rate-distortion picture of a sweep: what each combination costs in bits and gives in quality, use as colour."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vitrail.model.recipe import SLOTS
from vitrail.studies.grid import shown
from vitrail.studies.ledger import Sweep
from vitrail.studies.summary import RATE, Row, keys, rows
from vitrail.studies.table import shared_budget

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {
    "psnr": "PSNR of held-out pictures (dB), higher is better",
    "reconstruction_frechet": "Frechet distance of reconstructions, lower is better",
}
MARKERS = "osD^vP*Xphd<>"
WIDE = 8.0  # ratio of rates from which their axis is logarithmic
UNKNOWN = "0.85"  # grey of points without codes
WIDTH, HEIGHT = 6.4, 4.6  # inches of a panel


def picture(sweep: Sweep) -> bytes | None:
    """A PNG with one panel a measure; None while there is nothing to show."""
    from matplotlib.figure import Figure

    found = [row for row in rows(sweep) if row.finished]
    if any(row.mean(RATE) is not None for row in found):
        found = [row for row in found if row.mean(RATE) is not None]
    panels = [metric for metric in PANELS if any(row.mean(metric) is not None for row in found)]
    if not panels:
        return None
    figure = Figure(figsize=(WIDTH * len(panels) + 0.8, HEIGHT), dpi=120, layout="constrained", facecolor="white")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    colours = [_panel(each, found, metric) for each, metric in zip(axes, panels, strict=True)]
    if any(row.mean("codebook_usage") is not None for row in found):
        figure.colorbar(colours[-1], ax=list(axes), label="codes in use on held-out pictures (%)", pad=0.02)
    budget = (f"{each} each" for each in shared_budget(sweep))
    figure.suptitle(", ".join([f"{sweep.base['name']} on {sweep.origin.source}", *budget]), fontsize=11)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _panel(axes: Axes, found: list[Row], metric: str) -> Any:
    """One panel; gives what the colour bar is of."""
    found = [row for row in found if row.mean(metric) is not None]
    places = _places(axes, found)
    shape, rest = _roles(found)
    series: dict[str, list[int]] = {}
    for i, row in enumerate(found):
        series.setdefault(shown(row.settings.get(shape, "")), []).append(i)
    for (name, members), marker in zip(sorted(series.items()), MARKERS * len(series), strict=False):
        points = [(places[i], found[i]) for i in sorted(members, key=lambda i: places[i])]
        colours = _points(axes, points, metric, marker, name)
    for at, row in zip(places, found, strict=True):
        _named(axes, at, row, metric, rest)
    if shape:
        axes.legend(title=shape, fontsize=8, title_fontsize=8)
    axes.set_ylabel(PANELS[metric])
    axes.grid(alpha=0.25)
    axes.margins(x=0.1, y=0.12)
    return colours


def _points(axes: Axes, points: Sequence[tuple[float, Row]], metric: str, marker: str, name: str) -> Any:
    """One series: a thin line, error bars over seeds, and points whose colour is the share of codes in use."""
    x = [at for at, _ in points]
    y = [row.mean(metric) or 0.0 for _, row in points]
    spread = [row.spread(metric) or 0.0 for _, row in points]
    use = [row.mean("codebook_usage") for _, row in points]
    axes.plot(x, y, color="0.75", linewidth=1, zorder=1)
    if any(spread):
        axes.errorbar(x, y, yerr=spread, fmt="none", ecolor="0.35", capsize=3, linewidth=1, zorder=2)
    axes.plot([], [], marker, color="0.6", markeredgecolor="black", label=name)  # for the legend
    coloured: dict[str, Any] = {"c": [100 * (share or 0.0) for share in use], "cmap": "viridis", "vmin": 0, "vmax": 100}
    if None in use:
        coloured = {"c": UNKNOWN}
    return axes.scatter(x, y, s=64, marker=marker, edgecolors="black", linewidths=0.7, zorder=3, **coloured)


def _named(axes: Axes, at: float, row: Row, metric: str, rest: list[str]) -> None:
    """The point's settings beside it, as far as its marker does not tell them."""
    said = " ".join(shown(row.settings[key]) for key in rest if key in row.settings)
    at_point = (at, row.mean(metric) or 0.0)
    axes.annotate(said, at_point, xytext=(6, 5), textcoords="offset points", fontsize=8, color="0.25")


def _roles(found: list[Row]) -> tuple[str, list[str]]:
    """The key that the marker tells, if any: a part, else the second of several; and the keys that are written out."""
    swept = keys(found)
    parts = [key for key in swept if key.removesuffix(".name") in SLOTS]
    shape = next(iter(parts or swept[1:2]), "")
    return shape, [key for key in swept if key != shape]


def _places(axes: Axes, found: list[Row]) -> list[float]:
    """Where each row stands along the horizontal axis: at its rate, or where there are no codes, in order of its first key."""
    rates = [row.mean(RATE) for row in found]
    known = [rate for rate in rates if rate is not None]
    if len(known) == len(found):
        axes.set_xlabel("rate (bits per pixel, codes of fixed length)")
        if max(known) > WIDE * min(known) > 0:
            axes.set_xscale("log")
        return known
    key = keys(found)[0]
    ticks = list(dict.fromkeys(shown(row.settings.get(key, "")) for row in found))
    axes.set_xlabel(key)
    axes.set_xticks(range(len(ticks)), ticks)
    return [float(ticks.index(shown(row.settings.get(key, "")))) for row in found]
