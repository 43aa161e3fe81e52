"""Pictures per second of sampling, beside diffusers' DDIMPipeline with the same weights, steps and precision.

    python benchmarks/sampler_overhead.py [--steps 50] [--batch 16] [--width 64]

The net is the U-Net of our `diffusion` recipe for pictures of 28 x 28, with random weights, written by `vitrail export` and read by
diffusers; both draw batches of 16 in float32 on the CPU by DDIM. First both nets are given the same input, and must agree.
Bar: 1.1 times theirs.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from main_job import vitrail as command
from measuring import Figure, finish, interleaved, measured, options, ratios, skip

import vitrail
from vitrail.model import folder
from vitrail.model.model import Model
from vitrail.types import DataSpec

SHAPE = (1, 28, 28)
SAME = 1e-4  # largest difference of both nets' outputs


def main() -> None:
    asked = _asked()
    if not importlib.util.find_spec("diffusers"):
        skip("sampler_overhead", "diffusers is not installed; pip install 'vitrail[interop]'")
    torch.set_num_threads(asked.threads)
    model = fresh(asked.width)
    pipeline = exported(model)
    apart = difference(model, pipeline)
    sides = {"ours": partial(ours, model, asked), "diffusers": partial(theirs, pipeline, asked)}
    for side in sides.values():
        side()  # warm
    found = interleaved(sides, asked.rounds)
    gain = ratios(found["ours"], found["diffusers"])
    figures = [
        Figure(f"nets differ by less than {SAME:g}", float(apart < SAME), relation="==", bar=1),
        *(measured(side, values, "images/s") for side, values in found.items()),
        measured("gain", gain, "times", relation=">=", bar=1.1),
    ]
    told = {"steps": asked.steps, "batch": asked.batch, "threads": asked.threads, "width": asked.width}
    finish("sampler_overhead", figures, asked.quick, **told, difference=apart)


def fresh(width: int) -> Model:
    """The recipe's model, its zero-initialised layers made random so that every part counts."""
    model = Model.build(vitrail.recipe("diffusion").vary(denoiser__width=width), DataSpec(shape=SHAPE))
    assert model.prior is not None
    generator = torch.Generator().manual_seed(0)
    for weight in model.prior.parameters():
        if weight.dim() > 1 and not weight.any():
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
    return model


def exported(model: Model) -> Any:
    """diffusers' pipeline with the model's weights."""
    from diffusers import DDIMPipeline

    with tempfile.TemporaryDirectory() as place:
        own, other = Path(place) / "model", Path(place) / "diffusers"
        folder.save(model, own)
        command("export", str(own), "--to", "diffusers", "--out", str(other))
        pipeline: Any = DDIMPipeline.from_pretrained(other)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.unet.eval()
    return pipeline


@torch.inference_mode()
def difference(model: Model, pipeline: Any) -> float:
    """The largest difference of what both nets make of noise at one moment of diffusers' clock."""
    z, moment = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0)), 500
    theirs = pipeline.unet(z, moment).sample
    kept = float(pipeline.scheduler.alphas_cumprod[moment])
    ours = predicted(model, z, kept)
    return float((ours - theirs).abs().max())


def predicted(model: Model, z: torch.Tensor, kept: float) -> torch.Tensor:
    """v at the level where a share `kept` of the variance is signal, from our estimate of x: v = (a z - x) / s."""
    from vitrail.priors._continuous import Continuous, Given
    from vitrail.samplers.path import Level

    assert isinstance(model.prior, Continuous)
    level = Level(kept**0.5, (1 - kept) ** 0.5)
    x = model.prior.denoiser(Given(torch.full((len(z),), -1)))(z, level)
    return (level.signal * z - x) / level.noise


def ours(model: Model, asked: argparse.Namespace) -> float:
    """Pictures per second."""
    started = time.perf_counter()
    model.sample(asked.batch, sampler="ddim", steps=asked.steps)
    return asked.batch / (time.perf_counter() - started)


def theirs(pipeline: Any, asked: argparse.Namespace) -> float:
    """Pictures per second."""
    generator = torch.Generator().manual_seed(0)
    started = time.perf_counter()
    pipeline(asked.batch, generator=generator, num_inference_steps=asked.steps, output_type="np")
    return asked.batch / (time.perf_counter() - started)


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--width", type=int, default=64, help="channels of the finest level")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    if asked.quick:
        asked.steps, asked.batch, asked.width, asked.rounds, asked.threads = 2, 2, 16, 1, 1
    return asked


if __name__ == "__main__":
    main()
