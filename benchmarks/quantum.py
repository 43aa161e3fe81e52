"""What do circuits bring? Every quantum recipe beside itself without entanglers, its classical twin, and a classical model.

    python benchmarks/quantum.py [--data digits mnist] [--recipes quantum-vae ...] [--budget 60s] [--publish docs]

All train for the same time on one thread each, `--parallel` at a time, from several seeds; one feature net judges all that were
trained on the same data. `vitrail compare` makes the tables: mean and spread over seeds, best of each row *, weights, operations
and time. A page with the tables and a grid of pictures for each goes to --out, with --publish also to a folder of docs. MNIST is
reduced to 16x16; GANs get two of the classes. Called again it resumes.
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
from baselines import codebook, fidelity, subspace
from judging import UNPRICED
from main_job import vitrail
from measuring import DATA, Figure, finish, measured, options, skip
from quantum_page import Section, Shown, write
from torch import Tensor

from vitrail import catalog
from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_parts
from vitrail.metrics.psnr import psnr
from vitrail.model import folder
from vitrail.model.recipe import Recipe
from vitrail.networks.quantum.circuit import Circuit
from vitrail.studies import comparison

RECIPES = ("quantum-autoencoder", "quantum-vae", "quantum-vqvae", "quantum-vqgan", "quantum-gan")
SOURCES = {"digits": "digits", "mnist": str(DATA / "mnist")}
SIZES = {"mnist": 16}  # side that pictures are reduced to
GANS = ("quantum-gan",)  # learn the first two classes alone, and longer
SLOTS = ("network", "bottleneck", "prior")
PRIOR = ("prior.width=64", "prior.depth=2", "prior.heads=2")  # a transformer that learns within a minute
FIGURES = ("psnr", "frechet")
PICTURES = 8  # in a row of a grid


@dataclass(frozen=True)
class Kind:
    """One of the models that are compared."""

    name: str  # heading of its column
    recipe: str  # that `vitrail train` is given
    settings: tuple[str, ...] = ()


# Further kinds of a recipe.
MORE = {"quantum-vqgan": (Kind("Born prior", "quantum-vqgan", ("prior=born",)),)}


@dataclass(frozen=True)
class Case:
    """A quantum recipe on some data."""

    name: str  # of the recipe
    data: str
    source: str  # of the pictures
    settings: tuple[str, ...]  # how they are read

    @property
    def title(self) -> str:
        return f"{self.name} on {self.data}" + (", two classes" if self.name in GANS else "")

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is trained."""
        circuits = {slot: getattr(self.recipe, slot) for slot in SLOTS if hasattr(getattr(self.recipe, slot), "layer")}
        apart = [
            f"{slot}.{name}.entangler=none"
            for slot, config in circuits.items()
            for name in type(config).model_fields
            if isinstance(getattr(config, name), Circuit)
        ]
        twin = Kind("classical twin", self.name, tuple(f"{slot}.layer=classical" for slot in circuits))
        own = (Kind("quantum", self.name), Kind("no entangler", self.name, tuple(apart)), twin)
        other = rival(self.recipe)
        return (*own, *MORE.get(self.name, ()), *([other] if other else []))

    @cached_property
    def recipe(self) -> Recipe:
        made: Recipe = catalog.find("recipes", self.name).recipe()
        return made

    @cached_property
    def parts(self) -> tuple[Dataset, Dataset]:
        """Training and held-out pictures."""
        return open_parts(self.source, config(self.data))


def main() -> None:
    asked = _asked()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands that are run
    if missing := [data for data in asked.data if data != "digits" and not Path(SOURCES[data]).exists()]:
        skip("quantum", f"no data at {SOURCES[missing[0]]}; set VITRAIL_TEST_DATA, or say --data digits")
    judges = {data: judge(asked, data) for data in asked.data}
    cases = [case(asked, name, data) for data in asked.data for name in asked.recipes]
    jobs = [(judges[each.data], each, kind, seed) for each in cases for kind in each.kinds for seed in asked.seeds]
    with ThreadPoolExecutor(asked.parallel) as pool:
        list(pool.map(lambda job: run(asked, *job), jobs))
    found = [(each, comparison.compare(list(runs(asked, each)), group=True)) for each in cases]
    about = (
        f"{asked.budget} of training each ({asked.gan_budget} of GANs) on one thread; "
        f"seeds {', '.join(map(str, asked.seeds))}"
    )
    sections = [section(asked, *each) for each in found]
    for place in filter(None, (asked.out, asked.publish)):
        print(write(place, sections, about))
    figures = [figure for each, made in zip(cases, sections, strict=True) for figure in told(each, made)]
    finish("quantum", figures, asked.quick, budget=asked.budget, seeds=asked.seeds, data=asked.data)


def case(asked: argparse.Namespace, name: str, data: str) -> Case:
    """A recipe on some data, of which a GAN gets two classes in a file of their own."""
    if name not in GANS:
        size = (f"data.size={SIZES[data]}",) if data in SIZES else ()
        return Case(name, data, SOURCES[data], size)
    path = asked.out / f"{data}-two.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        train, test = (two(part) for part in open_parts(SOURCES[data], config(data)))
        np.savez(path, images=train[0], labels=train[1], test_images=test[0], test_labels=test[1])
    return Case(name, data, str(path), ())


def two(part: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, H, W, C) and labels of the first two classes."""
    kept = (part.labels < 2).nonzero().flatten()
    return part.images(kept).movedim(1, -1).numpy(), part.labels[kept].numpy()


def config(data: str) -> DataConfig:
    """How pictures are read."""
    return DataConfig(size=SIZES.get(data))


def rival(recipe: Recipe) -> Kind | None:
    """An ordinary recipe with a latent of the same size; None where there is none to train."""
    network: Any = recipe.network
    bottleneck: Any = recipe.bottleneck
    if recipe.name == "quantum-vae":
        return Kind("classical", "vae-dense", (f"bottleneck.channels={bottleneck.channels}", "prior=mixture"))
    if recipe.name == "quantum-gan":
        wasserstein = recipe.adversarial is not None and recipe.adversarial.part() == "wasserstein"
        return Kind("classical", "wgan" if wasserstein else "gan", (f"bottleneck.channels={bottleneck.channels}",))
    if recipe.name not in ("quantum-vqvae", "quantum-vqgan"):
        return None
    widths = [32 * 2**level for level in range(round(log2(network.patch)))]  # one halving each
    size = f"bottleneck.size={codes(recipe)}"
    return Kind("classical", recipe.name.removeprefix("quantum-"), (size, f"network.widths={widths}", *PRIOR))


def codes(recipe: Recipe) -> int:
    """How many there are: as the bottleneck says, or as the circuit has bit strings."""
    network: Any = recipe.network
    return getattr(recipe.bottleneck, "size", None) or 2**network.circuit.qubits


def judge(asked: argparse.Namespace, data: str) -> Path:
    """A feature net for all runs on some data, trained unless it is there."""
    net: Path = asked.out / f"judge-{data}"
    if not (net / "config.json").exists():
        size = ("--set", f"data.size={SIZES[data]}") if data in SIZES else ()
        told = ("--data", SOURCES[data], "--out", str(net), "--budget", asked.judge_budget)
        vitrail("features", "train", *told, *size)
    return net


def home(asked: argparse.Namespace, case: Case, kind: Kind, seed: int) -> Path:
    """Where a run lies."""
    folder: Path = asked.out / case.data / f"{case.name}-{kind.name}-{seed}-{budget(asked, case)}".replace(" ", "-")
    return folder


def budget(asked: argparse.Namespace, case: Case) -> str:
    """Of every model of a case."""
    told: str = asked.gan_budget if case.name in GANS else asked.budget
    return told


def runs(asked: argparse.Namespace, case: Case) -> dict[Path, str]:
    """All of a case with the names of their kinds."""
    return {home(asked, case, kind, seed): kind.name for kind in case.kinds for seed in asked.seeds}


def run(asked: argparse.Namespace, judge: Path, case: Case, kind: Kind, seed: int) -> None:
    """Train and evaluate one model, unless it is done."""
    path = home(asked, case, kind, seed)
    settings = ("training.threads=1", "data.workers=0", *case.settings, *kind.settings, *asked.more)
    told = ("--data", case.source, "--out", str(path), "--budget", budget(asked, case), "--seed", str(seed))
    vitrail("train", kind.recipe, *told, *(word for setting in settings for word in ("--set", setting)))
    if not judged(path, asked.samples):
        vitrail("evaluate", str(path), "--features", str(judge), "--samples", str(asked.samples), *UNPRICED)


def judged(run: Path, samples: int) -> bool:
    """Whether the scores of a run are those that are wanted; training leaves others, by which nothing was sampled."""
    told = json.loads((run / comparison.FILE).read_text()) if (run / comparison.FILE).exists() else {}
    made = json.loads((run / "model" / "config.json").read_text())["fingerprint"]
    return told.get("fingerprint") == made and samples in [score["n_fake"] for score in told["scores"]]


def section(asked: argparse.Namespace, case: Case, found: comparison.Comparison) -> Section:
    """The table of a case and its grid, with what needs no training beside them."""
    named, plain = runs(asked, case), untrained(case)
    names = tuple(named[Path(column.runs[0].name)] for column in found.columns)
    test = pixels(case.parts[1])
    first = {kind.name: home(asked, case, kind, asked.seeds[0]) for kind in case.kinds}
    rows = [Shown("data", test[:PICTURES], test[PICTURES : 2 * PICTURES])]
    rows += [shown(name, path, test[:PICTURES]) for name, path in first.items()]
    rows += [Shown(name, x_hat[:PICTURES], None) for name, x_hat in plain.items()]
    extra = {name: float(psnr(test, x_hat).mean()) for name, x_hat in plain.items()}
    kept = {}
    if case.name == "quantum-autoencoder":
        alike = {path: fidelity(test, folder.load(path).reconstruct(test)) for path in named}
        kept = {name: [alike[path] for path in named if named[path] == name] for name in names}
        kept |= {name: [fidelity(test, x_hat)] for name, x_hat in plain.items()}
    return Section(case.title, f"{case.name}-{case.data}", found, names, tuple(rows), extra, kept)


def untrained(case: Case) -> dict[str, Tensor]:
    """Test pictures as classical methods without a gradient give them back."""
    if case.name not in ("quantum-autoencoder", "quantum-vqvae"):
        return {}
    train, test = (pixels(part) for part in case.parts)
    if case.name == "quantum-vqvae":
        network: Any = case.recipe.network
        return {"k-means": codebook(train, test, network.patch, codes(case.recipe), seed=0)}
    bottleneck: Any = case.recipe.bottleneck
    return {"PCA": subspace(train, test, bottleneck.channels)}


def pixels(part: Dataset) -> Tensor:
    """(N, C, H, W) in [0, 1]."""
    return part.images(range(len(part))).float() / 255


def shown(name: str, run: Path, x: Tensor) -> Shown:
    """Reconstructions of x and samples of a run, where it makes either."""
    model = folder.load(run)
    x_hat = model.reconstruct(x) if model.codec.encoder is not None else None
    return Shown(name, x_hat, model.sample(PICTURES) if model.prior is not None else None)


def told(case: Case, section: Section) -> list[Figure]:
    """What goes into the line of JSON."""
    figures = []
    for name, column in zip(section.names, section.found.columns, strict=True):
        for metric in FIGURES:
            if values := [run.scores[metric].value for run in column.runs if metric in run.scores]:
                figures.append(measured(f"{case.title}, {name}: {metric}", values))
    return figures


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--data", nargs="+", choices=list(SOURCES), default=list(SOURCES))
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--budget", default="60s", help="of every model")
    parser.add_argument("--gan-budget", default="2min", help="of every GAN, which learns more slowly")
    parser.add_argument("--judge-budget", default="60s", help="of the classifier whose features judge")
    parser.add_argument("--samples", type=int, default=2000, help="that are drawn and judged")
    parser.add_argument("--parallel", type=int, default=2, help="models at a time, of one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/quantum"))
    parser.add_argument(
        "--publish", type=Path, metavar="DIR", help="folder of docs that gets the page and its pictures too"
    )
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="for all models")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.seeds, asked.samples, asked.more = (
            ["digits"],
            [0, 1],
            16,
            ["training.precision=fp32", *asked.more],
        )
        asked.budget = asked.gan_budget = asked.judge_budget = "4 steps"
    return asked


if __name__ == "__main__":
    main()
