"""Which shape of a codec gives the best pictures for the same number of floating-point operations?

    python benchmarks/quality_per_flop.py --data DATA/fashion-mnist --flops 15T --seeds 3 [--shapes NAME ...]

Every shape is the codec of a recipe with a few settings. A training step is counted: forward, backward and the products of
the optimiser. Each shape then takes as many steps as the budget pays for, with its learning rate falling over them, so a cheap
shape sees more pictures. Shown are PSNR on the test pictures and the Frechet distance of their reconstructions: means over the
seeds, with the smallest and the largest. Every run becomes a line of runs.jsonl in `--out`, and what stands there is not run
again. `--part train` judges on pictures of the training part, which are then left out of training: for exploring.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equal_flops
import torch
from judging import feature_net, features
from measuring import DATA, Figure, finish, measured, options, say, skip
from torch import Tensor

from vitrail import catalog
from vitrail.codecs.codec import Codec
from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_parts
from vitrail.data.loader import unit
from vitrail.data.noise import permutation
from vitrail.metrics.frechet import frechet
from vitrail.metrics.psnr import psnr
from vitrail.model.build import build_codec, fitted
from vitrail.model.recipe import Recipe, override, read_settings
from vitrail.networks.features import load_features
from vitrail.training.objectives import codec_step, rivalry
from vitrail.training.precision import Precision, applied
from vitrail.types import Batch, DataSpec

BLOCK = 256  # pictures reconstructed at once
LEFT_OUT = 5000  # pictures of the training part that judge while exploring, a fifth of a small one
SCORES = {"psnr": ("PSNR, dB", 2), "frechet": ("Frechet distance", 3)}

# Channels of each level, finest first, and residual blocks of the encoder and of the decoder in the same order.
# The first is what the others are compared with.
SHAPES: dict[str, str] = {
    name: f"network.widths=[{widths}] network.blocks=[{encoder}] network.decoder_blocks=[{decoder}] network.patch={patch}"
    for name, (widths, encoder, decoder, patch) in {
        "64,128; 1,1; 1,1": ("64,128", "1,1", "1,1", 2),
        "64,128; 0,1; 0,1": ("64,128", "0,1", "0,1", 2),
        "64,128; 0,0; 1,1": ("64,128", "0,0", "1,1", 2),
        "32,128; 1,1; 1,1": ("32,128", "1,1", "1,1", 2),
        "32,128; 0,1; 1,1": ("32,128", "0,1", "1,1", 2),
        "32,128; 0,1; 0,1": ("32,128", "0,1", "0,1", 2),
        "32,128; 0,2; 0,2": ("32,128", "0,2", "0,2", 2),
        "32,128; 0,0; 1,1": ("32,128", "0,0", "1,1", 2),
        "32,128; 0,0; 2,1": ("32,128", "0,0", "2,1", 2),
        "32,128; 0,0; 0,1": ("32,128", "0,0", "0,1", 2),
        "32,96; 0,0; 1,1": ("32,96", "0,0", "1,1", 2),
        "patch 4, 96; 1; 1": ("96", "1", "1", 4),
        "patch 4, 128; 1; 1": ("128", "1", "1", 4),
        "patch 4, 128; 0; 2": ("128", "0", "2", 4),
    }.items()
}


@dataclass(frozen=True)
class Pictures:
    """What is trained on and what judges, uint8 (N, C, H, W)."""

    spec: DataSpec
    train: Tensor
    test: Tensor


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("quality_per_flop", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    net, data = load_features(str(feature_net(asked))), pictures(asked.data, asked.part)
    real = features(net, data.test)
    for seed in range(asked.seeds):
        for name in asked.shapes:
            key = _key(asked, name, seed)
            if equal_flops.kept(asked.out, key) is None:
                began = time.perf_counter()
                codec, told = trained(shaped(asked, name, seed), data, asked)
                remade = reconstructed(codec, data.test, Precision(asked.precision, asked.threads))
                told |= {"psnr": decibels(data.test, remade), "frechet": frechet(real, features(net, remade))}
                told["seconds"] = round(time.perf_counter() - began, 1)
                say(f"{name}  {seed}  {told['mflop']:.0f} MFLOP  {told['psnr']:.2f} dB  {told['frechet']:.3f}")
                equal_flops.keep(asked.out, key | told)
    found = {name: _found(asked, name) for name in asked.shapes}
    print(equal_flops.table(found, SCORES))
    figures = [figure for name, lines in found.items() for figure in shown(name, lines)]
    finish("quality_per_flop", figures, asked.quick, flops=asked.flops, data=asked.data, part=asked.part)


def shaped(asked: argparse.Namespace, name: str, seed: int) -> Recipe:
    """The recipe with a shape's settings; a name that is none of the shapes is settings itself."""
    recipe: Recipe = catalog.find("recipes", asked.recipe).recipe()
    return override(recipe, read_settings([*_settings(asked, name), "prior=null", f"training.seed={seed}"]))


def pictures(source: str, part: str) -> Pictures:
    """Of a source; those that judge are its held-out part, or some of its training part."""
    train, heldout = open_parts(source, DataConfig())
    assert train.pixels is not None
    assert heldout.pixels is not None
    if part == "test":
        return Pictures(train.spec, train.pixels, heldout.pixels)
    left_out = min(LEFT_OUT, len(train) // 5)
    mixed = train.pixels[torch.from_numpy(permutation(0, 0, len(train)))]
    return Pictures(train.spec, mixed[left_out:], mixed[:left_out])


def trained(recipe: Recipe, data: Pictures, asked: argparse.Namespace) -> tuple[Codec, dict[str, Any]]:
    """A recipe's codec after the FLOPs that were asked for, and what it took."""
    recipe = fitted(recipe, data.spec)
    _, _, weights = rivalry(recipe, data.spec)
    module = codec_step(recipe, data.spec, build_codec(recipe, data.spec), None, weights)
    stage, seed = recipe.training.codec, recipe.training.seed
    averaged, told = equal_flops.train(module, stage, weights, batches(data.train, stage.batch, seed), seed, asked)
    codec: Codec = averaged.codec
    return codec, told


def batches(pixels: Tensor, batch: int, seed: int) -> Iterator[Batch]:
    """Batches without end."""
    for index in equal_flops.orders(len(pixels), batch, seed):
        yield Batch(unit(pixels[index].numpy()), torch.full((batch,), -1), index)


@torch.inference_mode()
def reconstructed(codec: Codec, pixels: Tensor, precision: Precision) -> Tensor:
    """Pictures (N, C, H, W) uint8 after the codec, in the arithmetic that it was trained in."""
    with applied(precision, equal_flops.CPU) as autocast, autocast():
        made = [codec(unit(part.numpy())).x_hat.float() for part in pixels.split(BLOCK)]
    return (torch.cat(made).clamp(0, 1) * 255).round().to(torch.uint8)


def decibels(real: Tensor, made: Tensor) -> float:
    """Mean PSNR of pictures (N, C, H, W) uint8."""
    return float(psnr(real.float() / 255, made.float() / 255).mean())


def shown(name: str, lines: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """The figures of one shape."""
    return [
        Figure(f"{name}: cost", lines[0]["mflop"], "MFLOP"),
        measured(f"{name}: psnr", [line["psnr"] for line in lines], "dB"),
        measured(f"{name}: frechet", [line["frechet"] for line in lines]),
    ]


def _settings(asked: argparse.Namespace, name: str) -> list[str]:
    return [*SHAPES.get(name, name).split(), *asked.more]


def _key(asked: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """What a run is known by."""
    same = {"recipe": asked.recipe, "data": Path(asked.data).name, "part": asked.part, "flops": asked.flops}
    return {**same, "settings": _settings(asked, name), "seed": seed, "precision": asked.precision}


def _found(asked: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """The lines of a shape, a seed each."""
    lines = [equal_flops.kept(asked.out, _key(asked, name, seed)) for seed in range(asked.seeds)]
    return [line for line in lines if line is not None]


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    equal_flops.arguments(parser, "runs/quality_per_flop", "15T", list(SHAPES))
    parser.add_argument("--data", default=str(DATA / "fashion-mnist"))
    parser.add_argument("--part", choices=["test", "train"], default="test", help="pictures that judge")
    parser.add_argument("--judge-budget", default="3min", help="of the classifier whose features judge")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.flops, asked.judge_budget, asked.seeds = "digits", 500e6, "20 steps", 2
        asked.shapes, asked.precision = asked.shapes[:2], "fp32"
        asked.more = ["bottleneck.size=16", *asked.more]
    return asked


if __name__ == "__main__":
    main()
