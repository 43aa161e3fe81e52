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
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from flops import step_flops
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
from vitrail.model.weight import current
from vitrail.networks.features import load_features
from vitrail.training import memory
from vitrail.training.codec_step import CodecStep
from vitrail.training.gradient import backward, read, seed_part
from vitrail.training.learner import Learner, learner
from vitrail.training.objectives import codec_step, rivalry
from vitrail.training.precision import Precision, applied
from vitrail.types import Batch, DataSpec

CPU = torch.device("cpu")
MULTIPLES = {"M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
BLOCK = 256  # pictures reconstructed at once
LEFT_OUT = 5000  # pictures of the training part that judge while exploring, a fifth of a small one

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


@dataclass(frozen=True)
class Cost:
    """What a step of a shape takes."""

    step: int  # FLOP
    batch: int
    optimiser: float  # the optimiser's share
    parameters: int


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("quality_per_flop", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    net, data = load_features(str(feature_net(asked))), pictures(asked.data, asked.part)
    real = features(net, data.test)
    for seed in range(asked.first, asked.first + asked.seeds):
        for name in asked.shapes:
            key = _key(asked, name, seed)
            if _kept(asked.out, key) is None:
                began = time.perf_counter()
                codec, told = trained(shaped(asked, name, seed), data, asked.flops, asked.precision, asked.threads)
                remade = reconstructed(codec, data.test, asked.precision, asked.threads)
                told |= {"psnr": _decibels(data.test, remade), "frechet": frechet(real, features(net, remade))}
                told["seconds"] = round(time.perf_counter() - began, 1)
                say(f"{name}  {seed}  {told['mflop']:.0f} MFLOP  {told['psnr']:.2f} dB  {told['frechet']:.3f}")
                _keep(asked.out, key | told)
    found = {name: _found(asked, name) for name in asked.shapes}
    print(table(found))
    figures = [figure for name, lines in found.items() for figure in shown(name, lines)]
    finish("quality_per_flop", figures, asked.quick, flops=asked.flops, data=asked.data, part=asked.part)


def shaped(asked: argparse.Namespace, name: str, seed: int) -> Recipe:
    """The recipe with a shape's settings; a name that is none of the shapes is settings itself."""
    recipe: Recipe = catalog.find("recipes", asked.recipe).recipe()
    return override(recipe, read_settings([*_settings(name), *asked.more, "prior=null", f"training.seed={seed}"]))


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


def trained(recipe: Recipe, data: Pictures, budget: float, form: str, threads: int) -> tuple[Codec, dict[str, Any]]:
    """A codec after as many steps as the budget in FLOP pays for, with its averaged weights, and what it took."""
    memory.keep_freed()
    recipe = fitted(recipe, data.spec)
    _, _, weights = rivalry(recipe, data.spec)
    module = codec_step(recipe, data.spec, build_codec(recipe, data.spec), None, weights)
    pupil = learner(module, recipe.training.codec, CPU)
    batch = recipe.training.codec.batch
    cost = priced(pupil, next(batches(data.train, batch, 0)), weights)
    steps = max(1, round(budget / cost.step))
    with applied(Precision(form, threads), CPU) as autocast:
        for step, x in zip(range(steps), batches(data.train, batch, recipe.training.seed), strict=False):
            used = (step + 0.5) / steps
            seed_part(recipe.training.seed, "codec", step, 0, CPU)
            module.at(used)
            numbers = backward(module, x, 1, current(weights, used), autocast)
            pupil.step(used, 1.0, read(numbers | {"grad_norm": pupil.optimiser.gradient_norm()}), step)
            module.after_step()
            pupil.clear()
    averaged = pupil.average.module()
    assert isinstance(averaged, CodecStep)
    told = {"mflop": cost.step / batch / 1e6, "optimiser": cost.optimiser, "parameters": cost.parameters}
    return averaged.codec.eval(), {**told, "pictures": steps * batch, "steps": steps}


def batches(pixels: Tensor, batch: int, seed: int) -> Iterator[Batch]:
    """Batches without end, in an order of every epoch's own, laid end to end."""
    epoch, left = 0, torch.empty(0, dtype=torch.int64)
    while True:
        while len(left) < batch:
            left = torch.cat([left, torch.from_numpy(permutation(seed, epoch, len(pixels)))])
            epoch += 1
        index, left = left[:batch], left[batch:]
        yield Batch(unit(pixels[index].numpy()), torch.full((batch,), -1), index)


def priced(pupil: Learner, batch: Batch, weights: Mapping[str, Any]) -> Cost:
    """What a step takes."""
    whole, optimiser = step_flops(pupil, batch, current(weights, 0.0))
    parameters = sum(weight.numel() for weight in pupil.module.parameters())
    return Cost(whole, len(batch.x), optimiser / whole, parameters)


@torch.inference_mode()
def reconstructed(codec: Codec, pixels: Tensor, form: str, threads: int) -> Tensor:
    """Pictures (N, C, H, W) uint8 after the codec, in the arithmetic that it was trained in."""
    with applied(Precision(form, threads), CPU) as autocast, autocast():
        made = [codec(unit(part.numpy())).x_hat.float() for part in pixels.split(BLOCK)]
    return (torch.cat(made).clamp(0, 1) * 255).round().to(torch.uint8)


def table(found: Mapping[str, list[dict[str, Any]]]) -> str:
    """Markdown, a row a shape."""
    head = "| shape | MFLOP a picture | in the optimiser | parameters | pictures seen | PSNR, dB | Frechet distance |"
    rows = [head, "|---|--:|--:|--:|--:|--:|--:|"]
    for name, lines in found.items():
        first = lines[0]
        size = f"{first['mflop']:.0f} | {first['optimiser']:.0%} | {first['parameters'] / 1e3:.0f} k"
        scores = " | ".join(_spread([line[key] for line in lines], 3 - (key == "psnr")) for key in ("psnr", "frechet"))
        rows.append(f"| {name} | {size} | {first['pictures']:,} | {scores} |")
    return "\n".join(rows)


def shown(name: str, lines: list[dict[str, Any]]) -> list[Figure]:
    """The figures of one shape."""
    return [
        Figure(f"{name}: cost", lines[0]["mflop"], "MFLOP"),
        measured(f"{name}: psnr", [line["psnr"] for line in lines], "dB"),
        measured(f"{name}: frechet", [line["frechet"] for line in lines]),
    ]


def _spread(values: list[float], digits: int) -> str:
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _decibels(real: Tensor, made: Tensor) -> float:
    return float(psnr(real.float() / 255, made.float() / 255).mean())


def _settings(name: str) -> list[str]:
    return SHAPES.get(name, name).split()


def _key(asked: argparse.Namespace, name: str, seed: int) -> dict[str, Any]:
    """What a run is known by."""
    same = {"recipe": asked.recipe, "data": Path(asked.data).name, "part": asked.part, "flops": asked.flops}
    return {**same, "settings": [*_settings(name), *asked.more], "seed": seed, "precision": asked.precision}


def _kept(out: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The line of an earlier run, None where there is none."""
    file = out / "runs.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return next((line for line in lines if key.items() <= line.items()), None)


def _keep(out: Path, line: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "runs.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def _found(asked: argparse.Namespace, name: str) -> list[dict[str, Any]]:
    """The lines of a shape, a seed each."""
    lines = [_kept(asked.out, _key(asked, name, seed)) for seed in range(asked.first, asked.first + asked.seeds)]
    return [line for line in lines if line is not None]


def _amount(text: str) -> float:
    """15T, 500G or a number of FLOP."""
    factor = MULTIPLES.get(text[-1:], 1.0)
    return float(text[:-1] if text[-1:] in MULTIPLES else text) * factor


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--data", default=str(DATA / "fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path("runs/quality_per_flop"))
    parser.add_argument("--recipe", default="vqvae")
    parser.add_argument("--flops", type=_amount, default=_amount("15T"), help="of every run: 15T, 500G or a number")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument(
        "--shapes", nargs="+", default=list(SHAPES), help="names, or settings, quoted as one word a shape"
    )
    parser.add_argument("--part", choices=["test", "train"], default="test", help="pictures that judge")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--judge-budget", default="3min", help="of the classifier whose features judge")
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="for every shape")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.flops, asked.judge_budget, asked.seeds = "digits", _amount("500M"), "20 steps", 2
        asked.shapes, asked.precision = asked.shapes[:2], "fp32"
        asked.more = ["bottleneck.size=16", *asked.more]
    return asked


if __name__ == "__main__":
    main()
