"""A small folder of photographs: is what a model draws new, and nearer to unseen pictures than nothing but copies would be?

    python benchmarks/small_folder.py [--count 250] [--recipes vqvae latent-diffusion] [--budget 6min] [--isa AVX2]
    python benchmarks/small_folder.py --set-name cifar --count 600

Takes `--count` pictures of a set as PNG files in class folders, trains each recipe on them with nothing set, as a user would, and
keeps all others of the set to judge by: bits of an unseen code under the prior beside those by the codes' own frequencies, the
share of copies among samples and among unseen pictures, and the Frechet distance of samples, beside that of the photocopier (the
training pictures themselves). `--earlier RUN` judges a run of an earlier version as well. `--isa AVX2` trains as on a processor
without AVX-512 and bf16. Called again it resumes. The grids' paths are printed: look at them.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from judging import features
from measuring import DATA, Figure, finish, options, say, skip
from PIL import Image

from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_dataset, open_parts
from vitrail.data.loader import in_order
from vitrail.data.modalities.image import save_grid
from vitrail.metrics.frechet import frechet
from vitrail.model import folder
from vitrail.model.model import Model
from vitrail.networks.features import load_features
from vitrail.tasks.evaluate import evaluate
from vitrail.training import learnt
from vitrail.training.prior_step import CodeBatch

SETS = {"hands": "hands64_1800_webp.npz", "cifar": "cifar10_train20000_webp.npz"}
MOST_UNSEEN = 4000  # pictures that a model is judged by
SHOWN = 64
PLAIN = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


def main() -> None:
    asked = _asked()
    learn, unseen, net = prepared("small_folder", asked)
    figures = photocopier(learn, unseen, net)
    for recipe in asked.recipes:
        run = asked.out / f"{recipe}-{asked.isa or 'native'}-{asked.budget.replace(' ', '')}-{asked.seed}"
        settings = [word for setting in asked.set for word in ("--set", setting)]
        words = ["--data", str(learn), "--out", str(run), "--budget", asked.budget, "--seed", str(asked.seed)]
        vitrail(PLAIN if asked.isa else {}, "train", recipe, *words, *settings)
        figures += judged(recipe, run, learn, unseen, net, asked)
    for number, run in enumerate(asked.earlier):
        figures += judged(f"earlier {number + 1}: {run.name}", run, learn, unseen, net, asked, bars=False)
    finish("small_folder", figures, asked.quick, count=asked.count, budget=asked.budget, isa=asked.isa)


def prepared(name: str, asked: argparse.Namespace) -> tuple[Path, Path, Path]:
    """The folder to learn from, the unseen one and the judge, made unless they are there; without data the benchmark is skipped."""
    source = DATA / SETS[asked.set_name]
    if not source.exists():
        skip(name, f"no data at {source}; set VITRAIL_TEST_DATA")
    learn, unseen = folders(source, asked)
    net = asked.out / "judge"
    if not (net / "config.json").exists():
        vitrail({}, "features", "train", "--data", str(unseen), "--out", str(net), "--budget", asked.judge_budget)
    return learn, unseen, net


def folders(source: Path, asked: argparse.Namespace) -> tuple[Path, Path]:
    """The pictures to learn and the unseen ones, as folders of class folders; a seeded choice, written once."""
    pictures, labels = stacked(source)
    order = np.random.default_rng(0).permutation(len(pictures))
    made = []
    for name, chosen in (("learn", order[: asked.count]), ("unseen", order[asked.count :][:MOST_UNSEEN])):
        root = asked.out / f"{name}-{asked.count}"
        for i in chosen:
            path = root / str(labels[i]) / f"{i:05d}.png"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pictures[i]).save(path)
        made.append(root)
    return made[0], made[1]


def stacked(source: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All pictures (N, H, W, C) and labels (N,) of a set whose pictures are stacked in lossless sheets."""
    held = np.load(source)
    sheets = [np.asarray(Image.open(io.BytesIO(held[key].tobytes()))) for key in held.files if key.startswith("sheet")]
    shape = tuple(held["shape"][1:])
    return np.concatenate([sheet.reshape(-1, *shape) for sheet in sheets]), held["labels"].astype(np.int64)


def photocopier(learn: Path, unseen: Path, net: Path) -> list[Figure]:
    """The training pictures, judged as samples are."""
    loaded = load_features(str(net))
    sets = [open_dataset(str(path), DataConfig(), "all") for path in (learn, unseen)]
    copied, real = (features(loaded, each.images(range(len(each)))) for each in sets)
    return [Figure("photocopier: Frechet distance", frechet(real, copied))]


def judged(
    name: str, run: Path, learn: Path, unseen: Path, net: Path, asked: argparse.Namespace, bars: bool = True
) -> list[Figure]:
    """Every figure of a run."""
    model, loaded = folder.load(run / "model"), load_features(str(net))
    config = model.recipe.data
    train, _ = open_parts(str(learn), config)
    rest = open_dataset(str(unseen), config.model_copy(update={"heldout": 0.0}), "all", shape=train.spec.shape)
    found = evaluate(
        model, rest, loaded, samples=asked.samples, training=train, likelihood=0, precision=asked.precision
    )
    values = {score.metric: score.value for score in found.scores}
    save_grid(run / "unseen-samples.png", model.sample(SHOWN, seed=1), columns=8)
    say(str(run / "unseen-samples.png"))
    draw_losses(run)
    figures = [Figure(f"{name}: {metric}", value) for metric, value in values.items()]
    if model.prior is not None and model.prior.discrete:
        figures += bits(name, model, train, rest, bars)
    copies = found.copies["pixels"]
    limit = {"relation": "<=", "bar": max(2 * copies.heldout.value, 2 * copies.expected)} if bars else {}
    figures.append(Figure(f"{name}: share of copies", copies.samples.value, spread=copies.samples.interval, **limit))
    figures.append(Figure(f"{name}: the same of unseen pictures", copies.heldout.value, spread=copies.heldout.interval))
    return figures


def draw_losses(run: Path) -> None:
    """losses.png in a run: the loss of training and of held-out pictures over the steps, stage by stage."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3), layout="constrained")
    for axis, stage in zip(axes, ("codec", "prior"), strict=True):
        own = [line for line in lines if line["stage"] == stage]
        held = [line for line in own if "heldout" in line]
        axis.plot([line["step"] for line in own], [line["loss"] for line in own], label="training")
        axis.plot([line["step"] for line in held], [line["heldout"]["loss"] for line in held], label="held-out")
        axis.set(title=stage, xlabel="step", yscale="log" if stage == "codec" else "linear")
        axis.legend()
    figure.savefig(run / "losses.png", dpi=100)
    pyplot.close(figure)
    say(str(run / "losses.png"))


def bits(name: str, model: Model, train: Dataset, rest: Dataset, bars: bool) -> list[Figure]:
    """Bits of an unseen code, and by the frequencies of the training pictures' codes."""
    assert model.prior is not None
    known, new = (encoded(model, each) for each in (train, rest))
    stand = learnt.beside_the_frequencies(model.prior, known.latent, new)
    learnt_by = learnt.beside_the_frequencies(model.prior, known.latent, known)
    limit = {"relation": "<=", "bar": stand.simple - 2} if bars else {}
    return [
        Figure(f"{name}: bits of an unseen code", stand.model, "bits", **limit),
        Figure(f"{name}: the same by frequency", stand.simple, "bits"),
        Figure(f"{name}: the same drawn evenly", math.log2(model.prior.spec.size), "bits"),
        Figure(f"{name}: bits of a training picture's code", learnt_by.model, "bits"),
    ]


@torch.no_grad()
def encoded(model: Model, data: Dataset) -> CodeBatch:
    """Codes and labels of a whole data set."""
    batches = [(model.codec.codes(batch.x), batch.label) for batch in in_order(data, 128)]
    return CodeBatch(torch.cat([codes for codes, _ in batches]), torch.cat([label for _, label in batches]))


def vitrail(environment: dict[str, str], *words: str) -> None:
    """Run a command in an environment of its own. Raises CalledProcessError."""
    say(f"$ vitrail {' '.join(words)}")
    subprocess.run([sys.executable, "-m", "vitrail", *words], check=True, env={**os.environ, **environment})


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--set-name", choices=list(SETS), default="hands")
    parser.add_argument("--count", type=int, default=250, help="pictures to learn from")
    parser.add_argument("--recipes", nargs="+", default=["vqvae", "latent-diffusion"])
    parser.add_argument("--budget", default="6min")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--isa", choices=["AVX2"], help="train without the instructions that newer processors have")
    parser.add_argument(
        "--earlier", type=Path, nargs="*", default=[], help="runs of an earlier version to judge as well"
    )
    parser.add_argument("--samples", type=int, default=1000, help="that are drawn and judged")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="that samples are drawn in")
    parser.add_argument("--judge-budget", default="3min", help="of the classifier whose features judge")
    parser.add_argument("--out", type=Path, default=Path("runs/small_folder"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to `vitrail train`")
    asked = parser.parse_args()
    asked.out = asked.out / asked.set_name
    if asked.quick:
        asked.count, asked.budget, asked.samples, asked.judge_budget = 40, "12 steps", 32, "20 steps"
        asked.set = ["network.widths=[8,16,16]", "training.threads=1", "training.precision=fp32"]
        asked.recipes = ["vqvae"]
    return asked


if __name__ == "__main__":
    main()
