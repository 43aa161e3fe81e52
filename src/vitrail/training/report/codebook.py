"""The codebook in the report, and what the collapse doctor found."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor

from vitrail.metrics import codebook
from vitrail.training import checkup, portrait
from vitrail.training.report import charts, curves, pictures
from vitrail.training.report.facts import Facts
from vitrail.training.report.markup import Html, join, number, table, tag

FINEST = 16  # cells along an axis of a map; finer grids are averaged
TOLD = 8  # cells up to which each bears its number
CELL = 40  # units of a cell's side
MOST = 8  # maps shown


def section(facts: Facts) -> Html:
    """How each code is used over the training set, and what it decodes to."""
    chart = curves.codebook_use(facts)
    if chart is None or facts.counts is None:
        return Html("")
    beside = tag("div", charts.drawn(chart), _pairs(_in_all(facts.counts)), class_="beside")
    return tag("section", tag("h2", "Codebook"), beside, *_portrait(facts))


def findings(facts: Facts) -> Html:
    """What the run was warned of, each with what to try."""
    found = checkup.read(facts.run)
    if not found:
        return Html("")
    each = (tag("li", tag("strong", finding.said), f": {finding.cause}.", _fixes(finding.fixes)) for finding in found)
    told = tag("p", "Found while it trained, each with its likely cause and what to try:")
    return tag("section", tag("h2", "Findings"), tag("div", told, tag("ul", *each), class_="note"))


def _fixes(fixes: tuple[str, ...]) -> Html:
    shown = [join([" or " if i else " Try ", tag("code", f"--set {fix}")]) for i, fix in enumerate(fixes)]
    return join([*shown, "."]) if shown else Html("")


def _in_all(counts: Tensor) -> dict[str, str]:
    """Numbers over all levels (Q, K)."""
    use, (levels, size) = codebook.usage(counts), counts.shape
    return {
        "Codes in use": f"{levels * size - use.dead:,} of {levels * size:,} ({use.usage:.1%})",
        "Dead codes": f"{use.dead:,}",
        "Perplexity": f"{number(use.perplexity)}: as rich as so many evenly used codes",
        "Entropy": f"{use.bits:.2f} bits per code, at most {math.log2(size):.2f}",
        "Counted over": f"{int(counts.sum()):,} codes of the training set",
    }


def _portrait(facts: Facts) -> list[Html]:
    """What `portrait.draw` or `vitrail codebook` left in the run folder: numbers by level, atlas, maps of positions."""
    folder = facts.run / portrait.FOLDER
    if not (folder / portrait.NUMBERS).exists() or not (folder / portrait.ATLAS).exists():
        return []
    told = json.loads((folder / portrait.NUMBERS).read_text(encoding="utf-8"))
    part = {"train": "training", "heldout": "held-out"}.get(told["part"], "whole")
    other = told.get("data", facts.source) != facts.source
    head = ("Level", "In use", "Dead", "Perplexity", "Bits per code", "Distance to the nearest other code")
    rows = (_row(i + 1, level) for i, level in enumerate(told["levels"]))
    title = tag("h3", f"By level, over {told['samples']:,} pictures of {told['data'] if other else f'the {part} set'}")
    return [title, table("levels", head, rows), *_atlas(facts), *_maps(told["levels"])]


def _row(place: int, level: dict[str, Any]) -> tuple[str, ...]:
    near = level["neighbours"]
    spread = f"{near['median']:.2f} ({near['5%']:.2f} to {near['95%']:.2f}) of the codes' spread" if near else ""
    share, bits = f"{level['usage']:.1%}", f"{level['bits']:.2f}"
    return str(place), share, f"{level['dead']:,}", number(level["perplexity"]), bits, spread


def _atlas(facts: Facts) -> list[Html]:
    inside = pictures.embedded(facts.run / portrait.FOLDER / portrait.ATLAS)
    caption = "What the most used codes decode to, with their surroundings, the most used first; bars say how often."
    image = tag("img", src=inside.uri, alt="Atlas of the codebook", width=inside.width, height=inside.height)
    return [tag("h3", "Atlas"), tag("figure", image, tag("figcaption", caption), style=f"max-width: {inside.width}px")]


def _maps(levels: list[dict[str, Any]]) -> list[Html]:
    """Bits at each position, a map per level."""
    grids = [torch.tensor(level["position_bits"], dtype=torch.float64) for level in levels[:MOST]]
    if grids[0].dim() not in (1, 2):
        return []
    most = max(float(grid.max()) for grid in grids) or 1.0
    drawn = [_map(torch.atleast_2d(grid), most, i + 1, len(levels)) for i, grid in enumerate(grids)]
    return [tag("h3", "Bits at each position"), tag("div", *drawn, class_="maps")]


def _map(grid: Tensor, most: float, level: int, levels: int) -> Html:
    """Cells as dark as they are full."""
    height, width = (min(side, FINEST) for side in grid.shape)
    shown = torch.nn.functional.adaptive_avg_pool2d(grid[None], (height, width))[0]
    cells = []
    for place, bits in enumerate(shown.flatten().tolist()):
        x, y = CELL * (place % width), CELL * (place // width)
        cells.append(tag("rect", x=x, y=y, width=CELL, height=CELL, fill_opacity=f"{bits / most:.2f}", class_="cell"))
        if max(height, width) <= TOLD:
            ink = "on-full" if bits > most / 2 else "on-empty"
            at = {"x": x + CELL / 2, "y": y + CELL / 2, "dy": "0.35em", "text_anchor": "middle"}
            cells.append(tag("text", f"{bits:.1f}", **at, class_=ink))
    said = f"from {float(grid.min()):.1f} to {float(grid.max()):.1f} bits"
    name = f"level {level}, {said}" if levels > 1 else said
    box = {"viewBox": f"0 0 {CELL * width} {CELL * height}", "role": "img", "aria_label": f"Bits by position: {name}"}
    return tag("figure", tag("svg", *cells, **box), tag("figcaption", name))


def _pairs(rows: dict[str, str]) -> Html:
    return tag("dl", *(tag("div", tag("dt", key), tag("dd", value)) for key, value in rows.items()), class_="pairs")
