"""Is a VQGAN sharper than a VQ-VAE of the same size, after the same time, and does its training ever fail?

    python benchmarks/sharpness.py [--budget 3min] [--seeds 3] [--data DATA ...]
    python benchmarks/sharpness.py --stability 10 [--budget 1min]

For every data set and seed `vqvae` and `vqgan`, both without a prior, train at the same time on one thread each, so that
whatever else the machine does hits both alike. Judged on held-out pictures: the Frechet distance of reconstructions in the
hidden layer of a classifier that is trained here first, on the training part, and that neither recipe has seen; and PSNR.
A jump is how much the mean reconstruction term of 100 steps exceeds that of the 100 steps before, at any step from the
discriminator's first on. Called again, it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import Any

from main_job import vitrail
from measuring import DATA, Figure, finish, measured, options, skip

RECIPES = ("vqvae", "vqgan")
SETS = ("fashion-mnist", "hands64_1800_webp.npz")
LINES = 20  # steps between lines of the log
SHOWN = 10  # pictures in a row of the comparison
STEPS = 100  # over which the reconstruction term is averaged
HELD_OUT = "data.heldout=0.3"  # of sets that have no test part of their own
ONE_THREAD = ("training.threads=1", "training.precision=bf16", "data.workers=0", f"training.log={LINES}", "prior=null")
TINY = ("training.precision=fp32", "network.widths=[8,8]", "discriminator.width=8", "training.log=1")


def main() -> None:
    asked = _asked()
    if missing := [data for data in asked.data if data != "digits" and not Path(data).exists()]:
        skip("sharpness", f"no data at {missing[0]}; give --data or VITRAIL_TEST_DATA")
    every = (stability(asked),) if asked.stability else (compared(asked, data) for data in asked.data)
    figures = [figure for some in every for figure in some]
    finish("sharpness", figures, asked.quick, budget=asked.budget, seeds=asked.seeds, stability=asked.stability)


def compared(asked: argparse.Namespace, data: str) -> list[Figure]:
    """Both recipes on one data set."""
    name, judge = Path(data).name.partition("_")[0], asked.out / f"judge-{Path(data).stem}"
    if not (judge / "config.json").exists():
        words = ("--data", data, "--out", str(judge), "--budget", asked.judge_budget, "--set", HELD_OUT)
        vitrail("features", "train", *words)
    found: dict[str, list[dict[str, float]]] = {recipe: [] for recipe in RECIPES}
    for seed in range(asked.seeds):
        with ThreadPoolExecutor(len(RECIPES)) as pool:
            for recipe, scores in zip(
                RECIPES, pool.map(partial(judged, asked, data, judge, seed), RECIPES), strict=True
            ):
                found[recipe].append(scores)
    show(asked, data, name)
    pairs = list(zip(*(found[recipe] for recipe in RECIPES), strict=True))
    ratios = [gan["reconstruction_frechet"] / vae["reconstruction_frechet"] for vae, gan in pairs]
    lost = [vae["psnr"] - gan["psnr"] for vae, gan in pairs]
    jumps = [scores["jump"] for scores in found["vqgan"]]
    return [
        *shown(name, found),
        measured(f"{name}: Frechet distance, vqgan over vqvae", ratios, relation="<=", bar=0.7),
        measured(f"{name}: PSNR that vqgan loses", lost, "dB", relation="<=", bar=1.5),
        measured(f"{name}: largest jump of the reconstruction term", jumps, relation="<=", bar=1.1),
    ]


def show(asked: argparse.Namespace, data: str, name: str) -> None:
    """A picture of held-out pictures over what each recipe's first seed makes of them, one row each."""
    import numpy as np
    import torch

    import vitrail
    from vitrail.data.dataset import open_dataset
    from vitrail.data.modalities import image

    models = [vitrail.load(trained(asked, data, 0, recipe)) for recipe in RECIPES]
    seen = open_dataset(data, models[0].recipe.data, "heldout", shape=models[0].spec.shape)
    pixels, _ = seen.readable(np.linspace(0, len(seen) - 1, SHOWN).astype(np.int64))
    x = image.as_tensor(torch.from_numpy(pixels))
    rows = torch.cat([x, *(model.reconstruct(x) for model in models)])
    image.save_grid(asked.out / f"{name}.png", rows, SHOWN, least=84)


def shown(name: str, found: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """The scores behind the comparison."""
    metrics = {"reconstruction_frechet": "", "psnr": "dB", "images": ""}
    return [
        measured(f"{name} {recipe}: {metric.replace('_', ' ')}", [scores[metric] for scores in found[recipe]], unit)
        for recipe, (metric, unit) in product(RECIPES, metrics.items())
    ]


def judged(asked: argparse.Namespace, data: str, judge: Path, seed: int, recipe: str) -> dict[str, float]:
    """Train and score one model; what an earlier call finished is read instead."""
    run = trained(asked, data, seed, recipe)
    file = run / "sharpness.json"
    if not file.exists():
        vitrail("evaluate", str(run), "--features", str(judge), "--out", str(file))
    scores = {score["metric"]: score["value"] for score in json.loads(file.read_text())["scores"]}
    lines = log(run)
    return {**scores, "images": lines[-1]["images"], "jump": jump(lines)}


def trained(asked: argparse.Namespace, data: str, seed: int, recipe: str) -> Path:
    """The run folder of a model that is trained."""
    run: Path = asked.out / f"{recipe}-{Path(data).stem}-{seed}-{asked.budget.replace(' ', '')}"
    settings = (
        *ONE_THREAD,
        HELD_OUT,
        *(setting for setting in asked.more if recipe == "vqgan" or "discriminator" not in setting),
    )
    words = ["--data", data, "--out", str(run), "--budget", asked.budget, "--seed", str(seed)]
    vitrail("train", recipe, *words, *(word for setting in settings for word in ("--set", setting)))
    return run


def log(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def jump(lines: Sequence[dict[str, Any]]) -> float:
    """The largest ratio of neighbouring means of the reconstruction term, from the discriminator's first step on."""
    terms = [line["terms"]["reconstruction"] for line in lines]
    first = next((number for number, line in enumerate(lines) if "discriminator" in line["terms"]), len(lines))
    width = max(STEPS // LINES, 1)
    starts = range(max(first, width), len(terms) - width + 1)
    return max((mean(terms[at : at + width]) / mean(terms[at - width : at]) for at in starts), default=0.0)


def stability(asked: argparse.Namespace) -> list[Figure]:
    """Many seeds of vqgan, two at a time: steps refused, runs that end far below the others."""
    data = asked.data[0]
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda seed: trained(asked, data, seed, "vqgan"), range(asked.stability)))
    logs = [log(run) for run in runs]
    psnr = [lines[-1]["stats"]["psnr"] for lines in logs]
    finite = [all(math.isfinite(value) for line in lines for value in line["terms"].values()) for lines in logs]
    return [
        measured("PSNR of the last batches", psnr, "dB"),
        Figure("runs with a term that is not finite", finite.count(False), relation="==", bar=0),
        Figure("steps refused, in all runs", sum(lines[-1]["refused"] for lines in logs), relation="==", bar=0),
        Figure("worst run below the median", median(psnr) - min(psnr), "dB", relation="<=", bar=1.0),
        measured("largest jump of the reconstruction term", [jump(lines) for lines in logs], relation="<=", bar=1.1),
    ]


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--data", nargs="+", default=[str(DATA / name) for name in SETS])
    parser.add_argument("--out", type=Path, default=Path("runs/sharpness"))
    parser.add_argument("--budget", default="3min", help="of every model")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--stability", type=int, default=0, metavar="N", help="N seeds of vqgan on the first data set instead"
    )
    parser.add_argument("--judge-budget", default="2min", help="of each classifier")
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="for both recipes")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.budget, asked.judge_budget, asked.more = ["digits"], "40 steps", "20 steps", [*TINY]
        asked.seeds, asked.stability = 1, min(asked.stability, 2)
    return asked


if __name__ == "__main__":
    main()
