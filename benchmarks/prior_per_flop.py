"""Which shape of a prior over codes predicts unseen codes best for the same number of floating-point operations?

    python benchmarks/prior_per_flop.py --data DATA/fashion-mnist --flops 13T --seeds 3 [--shapes NAME ...]

One codec of the `vqvae` recipe is trained, once, and all pictures become codes. Every shape of the recipe's prior then takes as
many steps as the budget pays for: forward, backward and the products of the optimiser. Shown are bits per code of the held-out
pictures, given their class. Every run becomes a line of runs.jsonl in `--out`, and what stands there is not run again.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equal_flops
import torch
from main_job import vitrail
from measuring import DATA, finish, measured, options, say, skip
from torch import Tensor

from vitrail import catalog, load
from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_parts
from vitrail.data.loader import in_order
from vitrail.model.build import build_prior
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe, override, read_settings
from vitrail.model.regularise import regularised
from vitrail.training.objectives import prior_weights
from vitrail.training.precision import Precision, applied
from vitrail.training.prior_step import CodeBatch, PriorStep

BLOCK = 256  # samples encoded or judged at once
SCORES = {"bits": ("bits per code", 3)}

# Width, layers, heads, batch and learning rate. The first is what the others are compared with.
SHAPES: dict[str, str] = {
    f"{width} x {depth}, batch {batch}, rate {rate}": f"prior.width={width} prior.depth={depth} prior.heads={heads} "
    f"training.prior.batch={batch} training.prior.lr={rate}"
    for width, depth, heads, batch, rate in (
        (256, 4, 4, 64, 3e-3),
        (256, 4, 4, 32, 3e-3),
        (256, 4, 4, 128, 3e-3),
        (256, 2, 4, 64, 3e-3),
        (256, 3, 4, 64, 3e-3),
        (192, 4, 4, 64, 3e-3),
        (192, 3, 4, 64, 3e-3),
        (192, 2, 4, 64, 3e-3),
        (128, 4, 4, 64, 3e-3),
        (128, 3, 4, 64, 3e-3),
        (128, 3, 4, 32, 3e-3),
        (128, 6, 4, 64, 3e-3),
    )
}


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("prior_per_flop", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    model = codec(asked)
    train, heldout = (encoded(model, part, asked) for part in open_parts(asked.data, DataConfig()))
    for seed in range(asked.seeds):
        for name in asked.shapes:
            key = _key(asked, name, seed, model)
            if equal_flops.kept(asked.out, key) is None:
                began = time.perf_counter()
                step, told = trained(shaped(asked, name, seed, len(train.label)), model, train, asked)
                told["bits"] = bits(step, heldout, Precision(asked.precision, asked.threads))
                told["seconds"] = round(time.perf_counter() - began, 1)
                say(f"{name}  {seed}  {told['mflop']:.0f} MFLOP  {told['bits']:.4f} bits")
                equal_flops.keep(asked.out, key | told)
    found = {
        name: [
            line for seed in range(asked.seeds) if (line := equal_flops.kept(asked.out, _key(asked, name, seed, model)))
        ]
        for name in asked.shapes
    }
    print(equal_flops.table(found, SCORES))
    figures = [measured(f"{name}: bits", [line["bits"] for line in lines], "bits") for name, lines in found.items()]
    finish("prior_per_flop", figures, asked.quick, flops=asked.flops, data=asked.data)


def codec(asked: argparse.Namespace) -> Model:
    """A model with a codec alone, trained unless it is there."""
    run = asked.out / "codec"
    settings = [word for setting in (*asked.codec, "prior=null") for word in ("--set", setting)]
    if not (run / "model" / "config.json").exists():
        told = ("--data", asked.data, "--out", str(run), "--budget", asked.codec_budget)
        vitrail("train", asked.recipe, *told, "--set", f"training.threads={asked.threads}", *settings)
    return load(run)


@torch.inference_mode()
def encoded(model: Model, data: Dataset, asked: argparse.Namespace) -> CodeBatch:
    """The codes of a part of the data, and its classes."""
    with applied(Precision("fp32", asked.threads), equal_flops.CPU):
        parts = [(model.codec.codes(batch.x), batch.label) for batch in in_order(data, BLOCK)]
    return CodeBatch(torch.cat([codes for codes, _ in parts]), torch.cat([label for _, label in parts]))


def shaped(asked: argparse.Namespace, name: str, seed: int, samples: int) -> Recipe:
    """The recipe with a shape's settings; a name that is none of the shapes is settings itself."""
    recipe: Recipe = catalog.find("recipes", asked.recipe).recipe()
    settings = [*asked.codec, *SHAPES.get(name, name).split(), *asked.more, f"training.seed={seed}"]
    return regularised(override(recipe, read_settings(settings)), samples)


def trained(
    recipe: Recipe, model: Model, data: CodeBatch, asked: argparse.Namespace
) -> tuple[PriorStep, dict[str, Any]]:
    """A recipe's prior after the FLOPs that were asked for, and what it took."""
    prior = build_prior(recipe, model.spec, model.codec)
    assert prior is not None
    stage, seed = recipe.training.prior, recipe.training.seed
    stream = batches(data, stage.batch, seed)
    averaged, told = equal_flops.train(PriorStep(prior), stage, prior_weights(recipe), stream, seed, asked)
    assert isinstance(averaged, PriorStep)
    return averaged, told


def batches(data: CodeBatch, batch: int, seed: int) -> Iterator[CodeBatch]:
    """Batches without end."""
    for index in equal_flops.orders(len(data.label), batch, seed):
        yield CodeBatch(data.latent[index], data.label[index])


@torch.no_grad()
def bits(step: PriorStep, data: CodeBatch, precision: Precision) -> float:
    """Mean negative log-likelihood of a code, in bits."""
    total, parts = 0.0, zip(data.latent.split(BLOCK), data.label.split(BLOCK), strict=True)
    with applied(precision, equal_flops.CPU) as autocast, autocast():
        for codes, label in parts:
            nats: Tensor = step(CodeBatch(codes, label)).terms["nats"]
            total += float(nats) * len(label)
    return total / len(data.label) / math.log(2)


def _key(asked: argparse.Namespace, name: str, seed: int, model: Model) -> dict[str, Any]:
    """What a run is known by."""
    settings = [*SHAPES.get(name, name).split(), *asked.more]
    same = {"recipe": asked.recipe, "codec": model.fingerprint, "flops": asked.flops, "precision": asked.precision}
    return {**same, "data": Path(asked.data).name, "settings": settings, "seed": seed}


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    equal_flops.arguments(parser, "runs/prior_per_flop", "13T", list(SHAPES))
    parser.add_argument("--data", default=str(DATA / "fashion-mnist"))
    parser.add_argument("--codec", action="append", default=[], metavar="KEY=VALUE", help="settings of the codec")
    parser.add_argument("--codec-budget", default="3min", help="of the codec")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.flops, asked.codec_budget, asked.seeds = "digits", 500e6, "5 steps", 1
        asked.shapes, asked.precision = asked.shapes[-3:-1], "fp32"
        asked.codec = ["network.widths=[8,16]", "bottleneck.size=16", *asked.codec]
    return asked


if __name__ == "__main__":
    main()
