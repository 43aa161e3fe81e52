"""How many nats does black-and-white MNIST cost after 20 minutes on two cores?

    python benchmarks/likelihood.py [--budget 20min] [--recipes pixelcnn vae-dense] [--out runs/likelihood]

Every recipe trains alone on two threads, on pictures rounded to black and white. `vitrail evaluate` then gives the test nats: exact
for a PixelCNN, an importance-weighted bound for a VAE. Bars: 86 and 90. The nats of training batches over time are written to
curve.csv and curve.png, so that one sees where more time would lead.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from judging import arguments, evaluated, trained
from measuring import DATA, Figure, finish, options, skip

BARS = {"pixelcnn": 86.0, "vae-dense": 90.0}
SETTINGS = {"pixelcnn": ("prior.label_dropout=1",)}  # published figures are of models that know no classes
SMOOTH = 20  # lines of the log that a point of the curve is the mean of
TINY = {"pixelcnn": ("prior.width=8", "prior.depth=1"), "vae-dense": ("network.widths=[16]",)}

Curve = list[tuple[float, float]]  # seconds, nats


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("likelihood", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    figures, curves = [], {}
    for recipe in asked.recipes:
        settings = ("data.binarise=true", *SETTINGS.get(recipe, ()), *(TINY.get(recipe, ()) if asked.quick else ()))
        run = trained(asked, recipe, recipe, *(word for setting in settings for word in ("--set", setting)))
        nats = evaluated(run, f"likelihood-{asked.priced}", "--likelihood", str(asked.priced))["nats"]
        bar: dict[str, Any] = {"relation": "<=", "bar": BARS[recipe]} if recipe in BARS else {}
        figures.append(Figure(f"{recipe}: test nats", nats, "nats", **bar))
        curves[recipe] = curve(run)
        figures.append(Figure(f"{recipe}: nats of the last training batches", curves[recipe][-1][1], "nats"))
    write(asked.out / "curve.csv", curves)
    draw(asked.out / "curve.png", curves)
    finish("likelihood", figures, asked.quick, budget=asked.budget, curve=str(asked.out / "curve.csv"))


def curve(run: Path) -> Curve:
    """Nats of a picture over the seconds of training, as its own terms say."""
    spec = json.loads((run / "recipe.json").read_text())["data"]
    values = 1
    for side in spec["shape"]:
        values *= side
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    points = [(line["time"]["seconds"], values * sum(line["terms"].values())) for line in lines]
    return [
        (points[last][0], sum(nats for _, nats in part) / len(part))
        for last in range(len(points))
        if (part := points[max(0, last - SMOOTH + 1) : last + 1])
    ]


def write(path: Path, curves: dict[str, Curve]) -> None:
    """One line a point."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("recipe", "seconds", "nats"))
        rows.writerows((recipe, *point) for recipe, points in curves.items() for point in points)


def draw(path: Path, curves: dict[str, Curve]) -> None:
    """One line a recipe, beside its bar."""
    from matplotlib.figure import Figure as Chart

    chart = Chart(figsize=(6, 4), layout="constrained")
    axes = chart.subplots()
    for recipe, points in curves.items():
        [line] = axes.plot(*zip(*points, strict=True), label=recipe)
        if recipe in BARS:
            axes.axhline(BARS[recipe], color=line.get_color(), linestyle=":")
    axes.set(xlabel="seconds", ylabel="nats of a training picture", yscale="log")
    axes.legend()
    chart.savefig(path, dpi=150)


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    arguments(parser, str(DATA / "mnist"), "runs/likelihood", "20min")
    parser.add_argument("--recipes", nargs="+", default=list(BARS))
    parser.add_argument("--priced", type=int, default=10_000, help="test pictures that the nats are the mean of")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.budget, asked.threads, asked.priced = "digits", "20 steps", 1, 32
        asked.more = ["training.precision=fp32", *asked.more]
    return asked


if __name__ == "__main__":
    main()
