"""Does a flow that also learnt long steps draw in 4 steps what takes 50 otherwise?

    python benchmarks/few_steps.py [--recipe flow] [--budget 10min] [--samples 10000]

One model, trained with prior.few_steps=true. Bar: with 4 steps of its own the Frechet distance of samples is at most 1.5 times
that of 50 ordinary ones, of euler or dpmpp-2m, whichever is nearer. Beside it 1, 2 and 8 steps, and 4 of either, which is what a
flow without that training has. All steps are of one size in t.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from judging import UNPRICED, arguments, evaluated, feature_net, trained
from measuring import DATA, Figure, finish, options, skip

SHORT, LONG = "shortcut", ("euler", "dpmpp-2m")
MANY = 50  # steps
TINY = ("training.precision=fp32",)


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("few_steps", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    net = feature_net(asked)
    run = trained(asked, f"{asked.recipe}-few", asked.recipe, "--set", "prior.few_steps=true")
    ways = [*((SHORT, steps) for steps in (1, 2, 4, 8)), *((name, steps) for name in LONG for steps in (4, MANY))]
    found = {way: distance(asked, net, run, *way) for way in ways}
    figures = [Figure(f"{name} in {steps}: Frechet distance", apart) for (name, steps), apart in found.items()]
    ratio = found[SHORT, 4] / min(found[name, MANY] for name in LONG)
    figures.append(Figure(f"4 steps over {MANY}", ratio, relation="<=", bar=1.5))
    finish("few_steps", figures, asked.quick, recipe=asked.recipe, budget=asked.budget, samples=asked.samples)


def distance(asked: argparse.Namespace, net: Path, run: Path, sampler: str, steps: int) -> float:
    """The Frechet distance of samples drawn in one way."""
    words = (
        "--features",
        str(net),
        "--samples",
        str(asked.samples),
        "--precision",
        asked.precision,
        *UNPRICED,
        "--sampler",
        sampler,
        "--steps",
        str(steps),
        "--sampling",
        "schedule=uniform",
    )
    return evaluated(run, f"{sampler}-{steps}-{asked.samples}", *words)["frechet"]


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    arguments(parser, str(DATA / "fashion-mnist"), "runs/few_steps", "10min")
    parser.add_argument("--recipe", default="flow", help="one whose prior is a flow")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.budget, asked.judge_budget, asked.samples = "digits", "8 steps", "20 steps", 16
        asked.threads, asked.more = 1, [*TINY, "denoiser.width=16", *asked.more]
    return asked


if __name__ == "__main__":
    main()
