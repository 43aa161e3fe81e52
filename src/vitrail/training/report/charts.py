"""Line charts as inline SVG: text stays text, and colours follow the page's light or dark scheme."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vitrail.training.report.markup import Html, join, number, tag

WIDTH, HEIGHT = 380, 210  # of a chart, in its own units; about pixels on a phone
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 34  # margins around the curves
POINTS = 240  # per curve; more are averaged in groups
NARROW = 1.5  # decades; below, a logarithmic axis is marked at 1, 2 and 5 as well


@dataclass(frozen=True)
class Curve:
    """Values over positions, both of one length."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """What one chart shows."""

    title: str
    curves: tuple[Curve, ...]
    unit: str = ""
    across: str = "step"  # what the horizontal axis counts
    log: bool = False  # vertical axis; used only where all values are positive
    levels: tuple[tuple[str, float], ...] = ()  # named horizontal lines to compare with
    filled: bool = False


@dataclass(frozen=True)
class Axis:
    """Maps values onto a length, with the values to mark on it."""

    place: Callable[[float], float]
    marks: tuple[float, ...]


def drawn(chart: Chart) -> Html:
    """A figure: title and last value, the curves, and a legend where there are several."""
    last = chart.curves[0].y[-1]
    shown = tag("span", number(last), tag("small", f" {chart.unit}"), class_="last") if not chart.filled else Html("")
    title = tag("figcaption", tag("h4", chart.title), shown)
    return tag("figure", title, _svg(chart), _legend(chart), class_="chart")


def thinned(values: Sequence[float], points: int = POINTS) -> list[float]:
    """At most so many values: means of groups in order."""
    size = math.ceil(len(values) / points)
    groups = [values[i : i + size] for i in range(0, len(values), size)] if values else []
    return [sum(group) / len(group) for group in groups]


def _svg(chart: Chart) -> Html:
    curves = [Curve(curve.name, thinned(curve.x), thinned(curve.y)) for curve in chart.curves]
    y_all = [y for curve in curves for y in curve.y] + [value for _, value in chart.levels]
    x_all = [x for curve in curves for x in curve.x]
    log = chart.log and min(y_all) > 0
    x = linear(min(x_all), max(x_all), LEFT, WIDTH - RIGHT, tight=True)
    y = (logarithmic if log else linear)(min(y_all), max(y_all), HEIGHT - BOTTOM, TOP)
    parts = [*_frame(chart, x, y), *(_level(name, y.place(value)) for name, value in chart.levels)]
    parts += [_path(curve, x, y, i, chart.filled) for i, curve in enumerate(curves)]
    ends = f"from {number(chart.curves[0].y[0])} to {number(chart.curves[0].y[-1])} {chart.unit}".rstrip()
    said = f"{chart.title} over {chart.across}: {ends}{', logarithmic axis' if log else ''}"
    return tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said)


def _frame(chart: Chart, x: Axis, y: Axis) -> list[Html]:
    """Grid lines, marks and the name of the horizontal axis."""
    parts = []
    for value in y.marks:
        at = f"{y.place(value):.1f}"
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid"))
        parts.append(tag("text", _short(value), x=LEFT - 6, y=at, dy="0.35em", text_anchor="end"))
    for value in x.marks:
        at = f"{x.place(value):.1f}"
        parts.append(tag("text", _short(value), x=at, y=HEIGHT - BOTTOM + 14, text_anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [*parts, tag("text", chart.across, x=middle, y=HEIGHT - 4, text_anchor="middle")]


def _path(curve: Curve, x: Axis, y: Axis, i: int, filled: bool) -> Html:
    points = [f"{x.place(a):.1f},{y.place(b):.1f}" for a, b in zip(curve.x, curve.y, strict=True)]
    if len(points) == 1:
        points *= 2  # with round ends: a dot
    line = tag("polyline", points=" ".join(points), class_=f"curve c{i % 6}")
    if not filled or i:
        return line
    floor = HEIGHT - BOTTOM
    under = f"{x.place(curve.x[0]):.1f},{floor} {' '.join(points)} {x.place(curve.x[-1]):.1f},{floor}"
    return join([tag("polyline", points=under, class_="under"), line])


def _level(name: str, at: float) -> Html:
    line = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{at:.1f}", y2=f"{at:.1f}", class_="level")
    return join([line, tag("text", name, x=WIDTH - RIGHT, y=f"{at - 4:.1f}", text_anchor="end")])


def _legend(chart: Chart) -> Html:
    if len(chart.curves) == 1:
        return Html("")
    entries = (
        tag("li", tag("i", class_=f"c{i % 6}"), f"{curve.name} {number(curve.y[-1])}")
        for i, curve in enumerate(chart.curves)
    )
    return tag("ul", *entries, class_="legend")


def linear(low: float, high: float, start: float, end: float, tight: bool = False) -> Axis:
    """An axis with some four round marks; unless `tight` it is widened to the next ones."""
    if high - low <= 1e-9 * max(abs(high), abs(low)):
        low, high = low - (abs(low) / 2 or 0.5), high + (abs(high) / 2 or 0.5)
    step = _round_up((high - low) / 4)
    first, last = math.floor(low / step), math.ceil(high / step)
    marks = tuple(i * step for i in range(first, last + 1))
    if tight:
        marks = tuple(mark for mark in marks if low <= mark <= high)
    else:
        low, high = first * step, last * step
    return Axis(lambda value: start + (end - start) * (value - low) / (high - low), marks)


def logarithmic(low: float, high: float, start: float, end: float) -> Axis:
    """An axis marked at powers of ten, and at 2 and 5 times these where there are few; low and high are positive."""
    bottom, top = math.log10(low) - 0.05, math.log10(high) + 0.05
    factors = (1, 2, 5) if top - bottom < NARROW else (1,)
    every = max(1, round((top - bottom) / 5))
    powers = range(math.floor(bottom), math.ceil(top) + 1, every)
    marks = tuple(factor * 10.0**power for power in powers for factor in factors)
    marks = tuple(mark for mark in marks if bottom <= math.log10(mark) <= top)
    if len(marks) < 2:
        marks = tuple(mark for mark in linear(low, high, 0, 1).marks if mark > 0 and bottom <= math.log10(mark) <= top)
    return Axis(lambda value: start + (end - start) * (math.log10(value) - bottom) / (top - bottom), marks)


def _round_up(step: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _short(value: float) -> str:
    """A mark's text: 20k instead of 20,000."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return number(float(f"{value:.6g}"))
