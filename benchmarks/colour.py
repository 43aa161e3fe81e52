"""Colour pictures: what every recipe makes of 20,000 CIFAR pictures in the same time, judged by 10,000 others.

    python benchmarks/colour.py [--recipes vqvae latent-diffusion] [--budget 9min] [--earlier RUN ...]

Trains each recipe with nothing set and judges its samples by a classifier of real pictures: the share that it takes for what was
asked for, and the Frechet distance to the 10,000 in its features. Beside them stand real pictures of the training set, judged as
samples are (the photocopier), and runs of an earlier version, where `--earlier` names some. Called again it resumes. The grids'
paths are printed: look at them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from judging import features
from main_job import judge, scored, spent, train
from measuring import DATA, Figure, finish, options, skip

from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_dataset
from vitrail.metrics.frechet import frechet
from vitrail.networks.features import load_features

LEARN, UNSEEN = "cifar10_train20000_webp.npz", "cifar10_test10000_webp.npz"
BARS = {  # by recipe and metric
    "vqvae": {"recognised": (">=", 0.58)},
    "latent-diffusion": {"recognised": (">=", 0.45)},
}
TINY = ("network.widths=[8,8,8]", "training.threads=1", "training.precision=fp32")


def main() -> None:
    asked = _asked()
    if not Path(asked.data).exists():
        skip("colour", f"no data at {asked.data}; set VITRAIL_TEST_DATA")
    net = judge(asked)
    figures = photocopier(asked, net)
    runs = {recipe: asked.out / f"{recipe}-{asked.budget.replace(' ', '')}-{asked.seed}" for recipe in asked.recipes}
    for recipe, run in runs.items():
        train(asked, recipe, run, asked.seed)
    grids = []
    for name, run in {**runs, **{f"earlier {run.name}": run for run in asked.earlier}}.items():
        by = ["--data", str(DATA / UNSEEN), "--part", "all", "--likelihood", "0", "--precision", asked.precision]
        found = scored(run, net, asked.samples, *by) | spent(run)
        bars = BARS.get(name, {})
        for metric, value in found.items():
            relation, bar = bars.get(metric, (None, None))
            figures.append(Figure(f"{name}: {metric}", value, relation=relation, bar=bar))
        grids += [str(path) for path in sorted((run / "samples").glob("*.png"))]
    print(*grids, sep="\n")
    finish("colour", figures, asked.quick, budget=asked.budget, seed=asked.seed, samples=asked.samples)


def photocopier(asked: argparse.Namespace, net: Path) -> list[Figure]:
    """As many training pictures, judged as samples are."""
    loaded = load_features(str(net))
    learn, unseen = (open_dataset(str(path), DataConfig(), "all") for path in (asked.data, DATA / UNSEEN))
    chosen = torch.randperm(len(learn), generator=torch.Generator().manual_seed(0))[: asked.samples].tolist()
    copied, real = features(loaded, learn.images(chosen)), features(loaded, unseen.images(range(len(unseen))))
    return [Figure("photocopier: frechet", frechet(real, copied))]


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--data", default=str(DATA / LEARN))
    parser.add_argument("--out", type=Path, default=Path("runs/colour"))
    parser.add_argument("--recipes", nargs="*", default=list(BARS))
    parser.add_argument("--budget", default="9min", help="of every recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=5000, help="that are drawn and judged")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16", help="that samples are drawn in")
    parser.add_argument("--judge-budget", default="8min", help="of the classifier whose features judge")
    parser.add_argument(
        "--earlier", type=Path, nargs="*", default=[], help="runs of an earlier version to judge as well"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to `vitrail train`")
    asked = parser.parse_args()
    if asked.quick:
        asked.budget, asked.judge_budget, asked.samples, asked.set = "20 steps", "20 steps", 64, list(TINY)
        asked.recipes = ["vqvae"]
    return asked


if __name__ == "__main__":
    main()
