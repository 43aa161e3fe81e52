"""Do GANs learn all classes within ten minutes? `gan`, `wgan` and others on Fashion-MNIST, judged by a classifier.

    python benchmarks/gans.py [--recipes gan wgan] [--budget 10min] [--samples 10000]

The recipes train at the same time, one thread each, so on two cores the budget is that of both. Evenness is the entropy
of the classes that the classifier finds among samples, relative to that of ten equal shares: 1 for real pictures. The grids
of samples are in the run folders.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from main_job import vitrail
from measuring import DATA, Figure, finish, options, skip

SCORES = {"frechet": "", "kid": "", "precision": "", "recall": "", "classifier_accuracy": ""}
THREADS = 2  # recipes at a time
ONE_THREAD = ("training.threads=1", "data.workers=0")
TINY = ("training.precision=fp32",)


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("gans", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    judge = asked.out / "judge"
    if not (judge / "config.json").exists():
        vitrail("features", "train", "--data", asked.data, "--out", str(judge), "--budget", asked.judge_budget)
    with ThreadPoolExecutor(THREADS) as pool:
        figures = [figure for found in pool.map(partial(judged, asked, judge), asked.recipes) for figure in found]
    finish("gans", figures, asked.quick, budget=asked.budget, samples=asked.samples)


def judged(asked: argparse.Namespace, judge: Path, recipe: str) -> list[Figure]:
    """Train one recipe, and look at what it makes."""
    run = asked.out / f"{recipe}-{asked.seed}-{asked.budget.replace(' ', '')}"
    settings = [word for setting in (*ONE_THREAD, *asked.more) for word in ("--set", setting)]
    words = ["--data", asked.data, "--out", str(run), "--budget", asked.budget, "--seed", str(asked.seed)]
    vitrail("train", recipe, *words, *settings)
    vitrail("evaluate", str(run), "--features", str(judge), "--samples", str(asked.samples))
    scores = {each["metric"]: each["value"] for each in json.loads((run / "evaluation.json").read_text())["scores"]}
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    return [
        Figure(f"{recipe}: evenness of the classes", scores["class_evenness"], relation=">=", bar=0.95),
        *(Figure(f"{recipe}: {name.replace('_', ' ')}", scores[name], unit) for name, unit in SCORES.items()),
        Figure(f"{recipe}: pictures seen", last["images"]),
    ]


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--recipes", nargs="+", default=["gan", "wgan"])
    parser.add_argument("--data", default=str(DATA / "fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path("runs/gans"))
    parser.add_argument("--budget", default="10min", help="of every recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--judge-budget", default="2min", help="of the classifier")
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="passed on")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.budget, asked.judge_budget, asked.samples = "digits", "20 steps", "20 steps", 64
        asked.more = [*TINY]
    return asked


if __name__ == "__main__":
    main()
