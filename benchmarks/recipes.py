"""Every recipe for the same short time on Fashion-MNIST, judged by the same feature net: the numbers of their docstrings.

    python benchmarks/recipes.py [--budget 1min] [--recipes vae vqvae] [--out runs/recipes] [--features DIR]

Shown are PSNR on the test pictures, and the Frechet distance, precision and recall of 2,000 samples. The distances are
those of this feature net; they say which recipe is nearer to the data, not how near other papers' models are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from main_job import vitrail
from measuring import DATA, Figure, finish, options, skip

from vitrail import catalog

SHOWN = {"psnr": "dB", "frechet": "", "precision": "", "recall": "", "recognised": ""}
TINY = ("--set", "training.threads=1", "--set", "training.precision=fp32")


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("recipes", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    features = asked.features or asked.out / "features"
    if not features.exists():
        vitrail("features", "train", "--data", asked.data, "--out", str(features), "--budget", asked.judge_budget)
    figures = [figure for recipe in asked.recipes for figure in measured_recipe(asked, recipe, features)]
    finish("recipes", figures, asked.quick, budget=asked.budget, data=asked.data, samples=asked.samples)


def measured_recipe(asked: argparse.Namespace, recipe: str, features: Path) -> list[Figure]:
    """Train and evaluate one recipe."""
    run = str(asked.out / f"{recipe}-{asked.budget.replace(' ', '')}")
    words = ["--data", asked.data, "--out", run, "--budget", asked.budget, *(TINY if asked.quick else ())]
    vitrail("train", recipe, *words)
    told = json.loads(vitrail("evaluate", run, "--features", str(features), "--samples", str(asked.samples), "--json"))
    scores = {score["metric"]: score["value"] for score in told["scores"]}
    return [Figure(f"{recipe}: {name}", scores[name], unit) for name, unit in SHOWN.items() if name in scores]


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--data", default=str(DATA / "fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--features", type=Path, help="folder of a feature net; default: one trained here")
    parser.add_argument("--judge-budget", default="3min", help="of that feature net")
    parser.add_argument("--budget", default="1min", help="of every recipe")
    parser.add_argument("--recipes", nargs="+", default=list(catalog.names("recipes")))
    parser.add_argument("--samples", type=int, default=2000, help="that are drawn and judged")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.budget, asked.judge_budget, asked.samples = "digits", "20 steps", "20 steps", 32
    return asked


if __name__ == "__main__":
    main()
