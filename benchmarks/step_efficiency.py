"""How much of a processor's rate does a training step reach, and how much of it goes to other things than the networks?

    python benchmarks/step_efficiency.py [--recipe vqvae] [--set network.patch=4 ...] [--avx2] [--threads 2] [--rounds 5]

In every round three things are timed: a product of two matrices of 1024 x 1024 in float32, forward and backward of the codec's
step on one batch, and the steady part of a codec stage of `training.loop.run`, with its loader, optimiser, averaged weights and
log. Bars: the stage trains at 0.75 times the pictures per second of the bare passes, and does 0.65 times the FLOP/s of the product.
`--avx2` hides what the processor has beyond AVX2, as on a plain one. `--profile` prints which operations take the time.
On a machine that others use as well, `--clock cpu --threads 1` counts the seconds that this process was given.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from flops import step_flops
from measuring import Figure, finish, interleaved, measured, options, ratios

from vitrail import catalog, processor
from vitrail.data.loader import unit
from vitrail.model.build import build_codec, fitted
from vitrail.model.recipe import Recipe, Training, override, read_settings
from vitrail.model.weight import current
from vitrail.training import budget, loop, memory
from vitrail.training.codec_step import CodecStep
from vitrail.training.gradient import Autocast, backward
from vitrail.training.job import Job
from vitrail.training.learner import learner
from vitrail.training.objectives import codec_step, rivalry
from vitrail.training.precision import Precision, applied
from vitrail.types import Batch, DataSpec

AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
SIDE = 1024  # of the matrices
WARM = 2  # first steps, which are not timed
CPU = torch.device("cpu")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    asked = _asked()
    if asked.avx2 and not AVX2.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **AVX2})
    torch.set_num_threads(asked.threads)
    recipe = _recipe(asked)
    if asked.profile:
        print(profile(recipe, asked))
    memory.keep_freed()
    flop = flop_per_picture(recipe, asked)
    sides = {
        "product": partial(product_rate, asked),
        "passes": partial(bare, recipe, asked),
        "stage": partial(stage, recipe, asked),
    }
    found = interleaved(sides, asked.rounds)
    reached = [rate * flop / 1e9 for rate in found["stage"]]
    figures = [
        measured("product of matrices", found["product"], "GFLOP/s"),
        Figure("cost of a step", flop / 1e6, "MFLOP"),
        measured("bare passes", found["passes"], "images/s"),
        measured("stage", found["stage"], "images/s"),
        measured("stage, rate", reached, "GFLOP/s"),
        measured("stage over passes", ratios(found["stage"], found["passes"]), "times", relation=">=", bar=0.75),
        measured("stage over product", ratios(reached, found["product"]), "times", relation=">=", bar=0.65),
    ]
    told = {
        "recipe": asked.recipe,
        "settings": asked.more,
        "shape": asked.shape,
        "threads": asked.threads,
        "clock": asked.clock,
    }
    finish("step_efficiency", figures, asked.quick, **told, processor=torch.backends.cpu.get_cpu_capability())


def product_rate(asked: argparse.Namespace) -> float:
    """GFLOP/s of a product of two square matrices in float32."""
    clock, side = CLOCKS[asked.clock], asked.side
    a, b = torch.randn(side, side), torch.randn(side, side)
    torch.mm(a, b)
    began, count = clock(), 0
    while clock() - began < asked.seconds:
        torch.mm(a, b)
        count += 1
    return 2 * side**3 * count / (clock() - began) / 1e9


def bare(recipe: Recipe, asked: argparse.Namespace) -> float:
    """Pictures per second of forward and backward on one batch again and again."""
    clock, (module, weights) = CLOCKS[asked.clock], _step(recipe, asked.shape)
    batch, steps = noise(recipe.training.codec.batch, asked.shape, 0), 0
    pupil = learner(module, recipe.training.codec, CPU)
    with applied(Precision(asked.precision, asked.threads), CPU) as autocast:
        run = partial(_passed, pupil.module, batch, weights, autocast)
        for _ in range(WARM):
            run()
        began = clock()
        while clock() - began < asked.seconds:
            run()
            steps += 1
        return steps * len(batch.x) / (clock() - began)


def stage(recipe: Recipe, asked: argparse.Namespace) -> float:
    """Pictures per second of the loop between its first steps and the end of its last."""
    clock, (module, weights) = CLOCKS[asked.clock], _step(recipe, asked.shape)
    config, moments = recipe.training.codec, []

    def batches(start: int) -> Iterator[Batch]:
        number = start
        while True:
            moments.append(clock())
            yield noise(config.batch, asked.shape, number)
            number += 1

    allowed = budget.read(f"{WARM + asked.steps} steps")
    job = Job("codec", module, batches, config, weights, allowed, config.batch)
    with tempfile.TemporaryDirectory() as folder:
        loop.run(job, Path(folder), Training(precision=asked.precision, threads=asked.threads))
    return config.batch * (len(moments) - 1 - WARM) / (moments[-1] - moments[WARM])


def noise(batch: int, shape: tuple[int, ...], number: int) -> Batch:
    """Pictures of noise, made as the loader makes a batch of bytes."""
    pixels = torch.randint(256, (batch, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(number))
    return Batch(unit(pixels.numpy()), torch.full((batch,), -1), torch.arange(batch))


def flop_per_picture(recipe: Recipe, asked: argparse.Namespace) -> float:
    """Of a whole step, the optimiser included."""
    module, weights = _step(recipe, asked.shape)
    pupil, batch = learner(module, recipe.training.codec, CPU), noise(recipe.training.codec.batch, asked.shape, 0)
    return step_flops(pupil, batch, current(weights, 0.0), asked.precision)[0] / len(batch.x)


def profile(recipe: Recipe, asked: argparse.Namespace) -> str:
    """Which operations a few whole steps spend their time in."""
    module, weights = _step(recipe, asked.shape)
    pupil, batch = learner(module, recipe.training.codec, CPU), noise(recipe.training.codec.batch, asked.shape, 0)
    with applied(Precision(asked.precision, asked.threads), CPU) as autocast:
        for number in range(2 * WARM):
            if number == WARM:
                watch = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
                watch.start()
            _passed(pupil.module, batch, weights, autocast, forget=False)
            pupil.step(0.5, 1.0, {pupil.norm: float(pupil.optimiser.gradient_norm())}, number)
            module.after_step()
            pupil.clear()
        watch.stop()
    return str(watch.key_averages().table(sort_by="self_cpu_time_total", row_limit=16, max_name_column_width=40))


def _passed(module: Any, batch: Batch, weights: Any, autocast: Autocast, forget: bool = True) -> None:
    """Forward and backward; what a quantizer remembers of them for the next step may be dropped."""
    module.at(0.5)
    backward(module, batch, 1, current(weights, 0.5), autocast)
    if forget:
        for part in module.modules():
            if isinstance(getattr(part, "seen", None), list):
                part.seen.clear()


def _step(recipe: Recipe, shape: tuple[int, ...]) -> tuple[CodecStep, Any]:
    spec = DataSpec(shape=shape)
    recipe = fitted(recipe, spec)
    _, _, weights = rivalry(recipe, spec)
    step = codec_step(recipe, spec, build_codec(recipe, spec), None, weights)
    assert isinstance(step, CodecStep)
    return step, weights


def _recipe(asked: argparse.Namespace) -> Recipe:
    recipe: Recipe = catalog.find("recipes", asked.recipe).recipe()
    return override(recipe, read_settings(["prior=null", *asked.more]))


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--recipe", default="vqvae")
    parser.add_argument("--shape", type=int, nargs=3, default=[1, 28, 28], metavar=("C", "H", "W"))
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--avx2", action="store_true", help="use nothing beyond AVX2")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: seconds of this process's threads")
    parser.add_argument("--profile", action="store_true", help="print which operations take the time")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=processor.cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round of products, and of one of passes")
    parser.add_argument("--steps", type=int, default=20, help="of a round of the stage")
    asked = parser.parse_args()
    asked.shape, asked.side = tuple(asked.shape), SIDE
    if asked.quick:
        asked.rounds, asked.seconds, asked.steps, asked.threads, asked.side = 1, 0.1, 2, 1, 64
        asked.more = ["network.widths=[8,16]", "bottleneck.size=16", *asked.more]
    return asked


if __name__ == "__main__":
    main()
