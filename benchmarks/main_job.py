"""The main job at its full length: a VQ-VAE with its prior on Fashion-MNIST, judged by a classifier of real pictures.

    python benchmarks/main_job.py [--budget 6min] [--seeds 0 1 2] [--data DIR] [--out runs/main_job]

Runs the three commands that a user would: `vitrail features train`, `vitrail train vqvae`, `vitrail evaluate`. The
feature net is trained once and is the judge of all seeds. Bars with 6 minutes: test PSNR 25.0 dB at 0.57 bits per pixel,
95 % of the codes in use, 75 % of class-conditional samples recognised (88 % with 20 minutes) by a classifier that gets
92 % of the real test pictures right. Called again it resumes. The grids' paths are printed: look at them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measuring import DATA, Figure, finish, measured, options, say, skip

RECOGNISED = {"6min": 0.75, "20min": 0.88}  # bar by budget
BARS: dict[str, dict[str, Any]] = {
    "psnr": {"relation": ">=", "bar": 25.0},
    "bits_per_pixel": {"relation": "<=", "bar": 0.57},
    "codebook_usage": {"relation": ">=", "bar": 0.95},
    "classifier_accuracy": {"relation": ">=", "bar": 0.92},
    "codec aside": {"relation": "<=", "bar": 0.03},
    "prior aside": {"relation": "<=", "bar": 0.03},
}
UNITS = {"psnr": "dB", "bits_per_pixel": "bits"}
SHOWN = (
    *BARS,
    "recognised",
    "ssim",
    "codebook_perplexity",
    "frechet",
    "kid",
    "precision",
    "recall",
    "density",
    "coverage",
    "reconstruction_frechet",
    *(f"{stage} {what}" for stage in ("codec", "prior") for what in ("steps", "images", "aside")),
)
TINY = ("network.widths=[8,16]", "prior.width=32", "prior.depth=1", "training.threads=1", "training.precision=fp32")


def main() -> None:
    asked = _asked()
    if not Path(asked.data).exists() and asked.data != "digits":
        skip("main_job", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    began = time.perf_counter()
    features = judge(asked)
    runs = [asked.out / f"{asked.budget.replace(' ', '')}_seed{seed}" for seed in asked.seeds]
    found = [train_and_evaluate(asked, run, seed, features) for run, seed in zip(runs, asked.seeds, strict=True)]
    grids = [str(path) for run in runs for path in sorted((run / "samples").glob("*.png"))]
    print(*grids, sep="\n")
    bars = {**BARS, "recognised": {"relation": ">=", "bar": bar}} if (bar := RECOGNISED.get(asked.budget)) else BARS
    figures = [_figure(name, [scores[name] for scores in found], bars) for name in SHOWN if name in found[0]]
    told = {"budget": asked.budget, "seeds": asked.seeds, "data": asked.data, "samples": asked.samples, "grids": grids}
    finish("main_job", figures, asked.quick, **told, seconds=round(time.perf_counter() - began))


def judge(asked: argparse.Namespace) -> Path:
    """The classifier's folder, trained unless it is there."""
    features: Path = asked.out / "features"
    if not features.exists():
        vitrail("features", "train", "--data", asked.data, "--out", str(features), "--budget", asked.judge_budget)
    return features


def train_and_evaluate(asked: argparse.Namespace, run: Path, seed: int, features: Path) -> dict[str, float]:
    """The scores of one seed by name."""
    train(asked, "vqvae", run, seed)
    guidance = ["--guidance", str(asked.guidance)] if asked.guidance else []
    return scored(run, features, asked.samples, *guidance) | spent(run)


def train(asked: argparse.Namespace, recipe: str, run: Path, seed: int) -> None:
    """One run, or what is left of it."""
    settings = [word for setting in asked.set for word in ("--set", setting)]
    told = ["--data", asked.data, "--out", str(run), "--budget", asked.budget, "--seed", str(seed)]
    vitrail("train", recipe, *told, *settings)


def scored(run: Path, features: Path, samples: int, *by: str) -> dict[str, float]:
    """What `vitrail evaluate` says of a run, by metric."""
    words = ["--features", str(features), "--samples", str(samples), "--no-copies", "--json", *by]
    return {score["metric"]: score["value"] for score in json.loads(vitrail("evaluate", str(run), *words))["scores"]}


def spent(run: Path) -> dict[str, float]:
    """Steps and images of each stage, and the share of its time that went into anything else than steps."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = {line["stage"]: line for line in lines}
    found: dict[str, float] = {}
    for stage, line in last.items():
        found[f"{stage} steps"], found[f"{stage} images"] = line["step"], line["images"]
        found[f"{stage} aside"] = line["time"]["aside"] / line["time"]["seconds"]
    return found


def vitrail(*words: str) -> str:
    """Run a command; returns what it printed on standard output. Raises CalledProcessError."""
    say(f"$ vitrail {' '.join(words)}")
    return subprocess.run(
        [sys.executable, "-m", "vitrail", *words], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _figure(name: str, values: list[float], bars: dict[str, dict[str, Any]]) -> Figure:
    return measured(name, values, UNITS.get(name, ""), **bars.get(name, {}))


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--data", default=str(DATA / "fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path("runs/main_job"))
    parser.add_argument("--budget", default="6min", help="60 %% for the codec, the rest for its prior")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--samples", type=int, default=10_000, help="that are drawn and judged")
    parser.add_argument("--judge-budget", default="3min", help="of the classifier")
    parser.add_argument("--guidance", type=float, help="default: the recipe's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to `vitrail train`")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.budget, asked.judge_budget, asked.samples, asked.set = (
            "digits",
            "60 steps",
            "20 steps",
            64,
            list(TINY),
        )
    return asked


if __name__ == "__main__":
    main()
