"""Does a large codebook collapse, and does it pay? Every quantizer with its defaults, several sizes and seeds, on CIFAR-10.

    python benchmarks/collapse.py [--budget "25k images"] [--seeds 3] [--quantizers vq simvq fsq lfq] [--sizes 1024 4096 16384]

Each cell is the recipe `vqvae` without its prior and with another bottleneck. Codes in use are counted over 200,000 latents of
training pictures; PSNR is that of the held-out pictures. A budget in pictures gives every cell the same steps on the same
pictures in the same order, and does not depend on how busy the machine is. Called again, it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import pairwise, product
from pathlib import Path
from statistics import mean

from main_job import vitrail
from measuring import DATA, Figure, finish, measured, options, skip

QUANTIZERS = {
    "vq": ("bottleneck=vq",),
    "simvq": ("bottleneck=vq", "bottleneck.codebook=simvq"),
    "fsq": ("bottleneck=fsq",),
    "lfq": ("bottleneck=lfq",),
    "bsq": ("bottleneck=bsq",),
    **{name: (f"bottleneck={name}",) for name in ("ibq", "soft", "gumbel", "rvq", "grouped", "hierarchical")},
}
JUDGED = ("vq", "simvq", "fsq", "lfq")
VECTORS = 200_000  # of training pictures
LOSS = 0.1  # dB that a codebook may lose against one of a quarter of its size
TINY = ("--set", "training.threads=1", "--set", "training.precision=fp32")


def main() -> None:
    asked = _asked()
    if not Path(asked.data).exists() and asked.data != "digits":
        skip("collapse", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    cells = {
        (quantizer, size): [judged(asked, quantizer, size, seed) for seed in range(asked.seeds)]
        for quantizer, size in product(asked.quantizers, asked.sizes)
    }
    figures = [figure for cell, scores in cells.items() for figure in shown(*cell, scores)]
    for quantizer in asked.quantizers:
        figures += losses(quantizer, {size: cells[quantizer, size] for size in asked.sizes})
    finish("collapse", figures, asked.quick, budget=asked.budget, data=asked.data, seeds=asked.seeds)


def judged(asked: argparse.Namespace, quantizer: str, size: int, seed: int) -> dict[str, float]:
    """Train one cell, and score it on both parts of the data."""
    run = asked.out / f"{quantizer}-{size}-{seed}-{asked.budget.replace(' ', '')}"
    settings = (*QUANTIZERS[quantizer], f"bottleneck.size={size}", "prior=null")
    words = ["--data", asked.data, "--out", str(run), "--budget", asked.budget, "--seed", str(seed)]
    vitrail("train", "vqvae", *words, *(word for setting in settings for word in ("--set", setting)), *asked.more)
    tokens = math.prod(json.loads(vitrail("info", str(run), "--json"))["latent"]["grid"])
    seen = _scores(run, "train", "--part", "train", "--limit", str(max(-(-asked.vectors // tokens), 2)))
    return {
        **_scores(run, "heldout"),
        "train_usage": seen["codebook_usage"],
        "train_perplexity": seen["codebook_perplexity"],
    }


def _scores(run: Path, part: str, *words: str) -> dict[str, float]:
    """What `vitrail evaluate` finds; the file of an earlier call is read instead."""
    file = run / f"collapse-{part}.json"
    if not file.exists():
        vitrail("evaluate", str(run), "--out", str(file), *words)
    return {score["metric"]: score["value"] for score in json.loads(file.read_text())["scores"]}


def shown(quantizer: str, size: int, scores: list[dict[str, float]]) -> list[Figure]:
    """Use and quality of one cell over its seeds."""
    bar = {"relation": ">=", "bar": 0.95} if quantizer in JUDGED and size == 16384 else {}
    name = f"{quantizer} {size:,}"
    return [
        measured(f"{name}: codes in use", [score["train_usage"] for score in scores], **bar),
        measured(f"{name}: perplexity", [score["train_perplexity"] for score in scores]),
        measured(f"{name}: PSNR", [score["psnr"] for score in scores], "dB"),
    ]


def losses(quantizer: str, by_size: dict[int, list[dict[str, float]]]) -> list[Figure]:
    """How much PSNR each size loses against a quarter of it, means over seeds; a gain is negative."""
    levels = {size: mean(score["psnr"] for score in scores) for size, scores in by_size.items()}
    bar = {"relation": "<=", "bar": LOSS} if quantizer in JUDGED else {}
    return [
        Figure(f"{quantizer}: PSNR lost from {small:,} to {large:,}", levels[small] - levels[large], "dB", **bar)
        for small, large in pairwise(sorted(levels))
        if large == 4 * small
    ]


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--data", default=str(DATA / "cifar10_train20000_webp.npz"))
    parser.add_argument("--out", type=Path, default=Path("runs/collapse"))
    parser.add_argument("--budget", default="25k images", help="of every cell")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quantizers", nargs="+", choices=tuple(QUANTIZERS), default=list(JUDGED))
    parser.add_argument("--sizes", nargs="+", type=int, default=[1024, 4096, 16384])
    parser.add_argument("--vectors", type=int, default=VECTORS)
    asked = parser.parse_args()
    asked.more = ()
    if asked.quick:
        asked.data, asked.budget, asked.seeds, asked.sizes, asked.vectors = "digits", "20 steps", 1, [16, 64], 2000
        asked.more = TINY
    return asked


if __name__ == "__main__":
    main()
