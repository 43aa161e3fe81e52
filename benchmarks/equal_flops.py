"""Training by a number of floating-point operations in place of steps or seconds, and the lines that such runs leave."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from flops import step_flops

from vitrail.data.noise import permutation
from vitrail.model.recipe import Stage
from vitrail.model.weight import current
from vitrail.training import memory
from vitrail.training.gradient import backward, read, seed_part
from vitrail.training.job import StepModule
from vitrail.training.learner import learner
from vitrail.training.precision import Precision, applied

CPU = torch.device("cpu")
MULTIPLES = {"M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


def train(
    module: StepModule, stage: Stage, weights: Mapping[str, Any], stream: Iterator[Any], seed: int, asked: Any
) -> tuple[Any, dict[str, Any]]:
    """The module with averaged weights after as many steps as `asked.flops` pays for, and what it took.

    Its learning rate falls over these steps as it does in a run.
    """
    memory.keep_freed()
    pupil = learner(module, stage, CPU)
    first = next(stream)
    whole, optimiser = step_flops(pupil, first, current(weights, 0.0), asked.precision)
    steps = max(1, round(asked.flops / whole))
    with applied(Precision(asked.precision, asked.threads), CPU) as autocast:
        for step in range(steps):
            used = (step + 0.5) / steps
            seed_part(seed, "equal", step, 0, CPU)
            module.at(used)
            numbers = backward(module, first if step == 0 else next(stream), 1, current(weights, used), autocast)
            pupil.step(used, 1.0, read(numbers | {pupil.norm: pupil.optimiser.gradient_norm()}), step)
            module.after_step()
            pupil.clear()
    parameters = sum(weight.numel() for weight in module.parameters())
    cost = {"mflop": whole / stage.batch / 1e6, "optimiser": optimiser / whole, "parameters": parameters}
    return pupil.average.module().eval(), {**cost, "steps": steps, "pictures": steps * stage.batch}


def orders(count: int, batch: int, seed: int) -> Iterator[torch.Tensor]:
    """Positions of the samples of every batch, without end: permutations laid end to end."""
    epoch, left = 0, torch.empty(0, dtype=torch.int64)
    while True:
        while len(left) < batch:
            left = torch.cat([left, torch.from_numpy(permutation(seed, epoch, count))])
            epoch += 1
        yield left[:batch]
        left = left[batch:]


def kept(out: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The line of an earlier run, None where there is none."""
    file = out / "runs.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return next((line for line in lines if key.items() <= line.items()), None)


def keep(out: Path, line: Mapping[str, Any]) -> None:
    """Append the line of a run."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "runs.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def table(found: Mapping[str, Sequence[Mapping[str, Any]]], scores: Mapping[str, tuple[str, int]]) -> str:
    """Markdown, a row a shape that was run; `scores` are titles and digits by name."""
    titles = ["shape", "MFLOP a picture", "in the optimiser", "parameters", "pictures seen", "seeds"]
    titles += [title for title, _ in scores.values()]
    rows = [f"| {' | '.join(titles)} |", "|---" + "|--:" * (len(titles) - 1) + "|"]
    for name, lines in found.items():
        if lines:
            first = lines[0]
            size = [f"{first['mflop']:.0f}", f"{first['optimiser']:.0%}", f"{first['parameters'] / 1e3:.0f} k"]
            size += [f"{first['pictures']:,}", str(len(lines))]
            told = [spread([line[score] for line in lines], digits) for score, (_, digits) in scores.items()]
            rows.append(f"| {' | '.join([name, *size, *told])} |")
    return "\n".join(rows)


def spread(values: Sequence[float], digits: int) -> str:
    """Their mean, with the smallest and the largest."""
    ends = "" if len(values) == 1 else f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    return f"{mean(values):.{digits}f}{ends}"


def amount(text: str) -> float:
    """15T, 500G or a number, in FLOP."""
    return float(text.rstrip("MGTP")) * MULTIPLES.get(text[-1:], 1.0)


def arguments(parser: argparse.ArgumentParser, out: str, flops: str, shapes: Sequence[str]) -> None:
    """The options of a benchmark that trains for equal FLOPs."""
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--recipe", default="vqvae")
    parser.add_argument("--flops", type=amount, default=amount(flops), help="of every run: 15T, 500G or a number")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--shapes", nargs="+", default=list(shapes), help="names, or settings, quoted as one word a shape"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="for every shape")
