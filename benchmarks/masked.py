"""Do priors that draw many codes at a time do in 12 steps what an autoregressive one does code by code, and how much faster?

    python benchmarks/masked.py [--budget 6min] [--samples 10000] [--parallel masked any-order]

One VQ-VAE codec is trained; then priors over its codes, for the same time each: that of the `maskgit` recipe, a small
prior=any-order, which keeps what it has made of known codes, that of `vqvae`, and one of `vqvae` as small as prior=any-order, which
shows what size alone gives. All runs begin with the codec, whose weights then stand still. Bars: the Frechet distance is at most
1.15 times that of `vqvae`'s prior, at three times the speed, each at the precision in which it is faster; and codes that are given
to be filled in around come back as they were.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from judging import UNPRICED, arguments, evaluated, feature_net, trained
from measuring import DATA, Figure, finish, interleaved, measured, options, ratios, skip

import vitrail
from vitrail.model.model import Model

STEPS = 12
SERIAL, SMALL = "autoregressive", "small autoregressive"  # code by code; the second only for comparison
SIZE = ("prior.width=128", "prior.depth=3")
PRIORS = {  # recipe, settings
    "masked": ("maskgit",),
    "any-order": ("maskgit", "prior=any-order", *SIZE, "prior.sampling.guidance=2"),
    SMALL: ("vqvae", *SIZE),
    SERIAL: ("vqvae",),
}
SHOWN = {"Frechet distance": "frechet", "recognised": "recognised"}
PRECISIONS = ("fp32", "bf16")
STILL = ("training.codec.lr=1e-12", "training.codec.ema=0", "training.share=1e-6")  # one step that moves nothing
TINY = ("training.precision=fp32", "network.widths=[8,16]", "bottleneck.size=16")


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("masked", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    net = feature_net(asked)
    codec = trained(asked, "codec", "vqvae", "--set", "prior=null")
    names = (*asked.parallel, SMALL, SERIAL)
    runs = {name: over(asked, codec, name) for name in names}
    words = ("--features", str(net), "--samples", str(asked.samples), *UNPRICED)
    found = {name: evaluated(run, f"plain-{asked.samples}", *words, *_steps(name)) for name, run in runs.items()}
    models = {name: vitrail.load(run) for name, run in runs.items()}
    figures = [Figure(f"{name}: {of}", scores[key]) for name, scores in found.items() for of, key in SHOWN.items()]
    for name in asked.parallel:
        apart = found[name]["frechet"] / found[SERIAL]["frechet"]
        figures.append(Figure(f"{name} over {SERIAL}: Frechet distance", apart, relation="<=", bar=1.15))
        same = torch.equal(decoded(models[name]), decoded(models[SERIAL]))
        figures.append(Figure(f"{name}: decodes like {SERIAL}", float(same), relation="==", bar=1))
        figures.append(Figure(f"{name}: known codes that changed", changed(models[name]), relation="==", bar=0))
    figures += speeds(asked, models)
    finish("masked", figures, asked.quick, budget=asked.budget, samples=asked.samples)


def over(asked: argparse.Namespace, codec: Path, name: str) -> Path:
    """The run of a prior over the codec's codes."""
    recipe, *more = PRIORS[name]
    settings = [word for setting in (*STILL, *more) for word in ("--set", setting)]
    return trained(asked, f"{name.replace(' ', '-')}-prior", recipe, "--from", str(codec), *settings)


def _steps(name: str) -> tuple[str, ...]:
    return () if name in (SERIAL, SMALL) else ("--steps", str(STEPS))


def decoded(model: Model) -> torch.Tensor:
    """Pictures of some codes, by which two codecs are told apart."""
    spec = model.codec.latent_spec()
    codes = torch.randint(spec.size, (4, spec.levels, *spec.grid), generator=torch.Generator().manual_seed(0))
    return model.decode(codes)


def speeds(asked: argparse.Namespace, models: dict[str, Model]) -> list[Figure]:
    """Pictures per second of all, in turn, in both precisions."""
    torch.set_num_threads(asked.threads)

    def speed(model: Model, settings: dict[str, int]) -> float:
        started = time.perf_counter()
        model.sample(asked.drawn, **settings)
        return asked.drawn / (time.perf_counter() - started)

    sides: dict[str, Callable[[], float]] = {
        f"{name} {precision}": partial(speed, model.at(precision), {} if name in (SERIAL, SMALL) else {"steps": STEPS})
        for name, model in models.items()
        for precision in PRECISIONS
    }
    found = interleaved(sides, asked.rounds)
    best = {
        name: max((found[f"{name} {precision}"] for precision in PRECISIONS), key=statistics.median) for name in models
    }
    return [
        *(measured(f"{name}: speed", values, "images/s") for name, values in found.items()),
        *(
            measured(f"{name} over {SERIAL}: speed", ratios(best[name], best[SERIAL]), "times", relation=">=", bar=3.0)
            for name in asked.parallel
        ),
    ]


def changed(model: Model) -> float:
    """How many known codes infilling changed, where every second one was known."""
    assert model.prior is not None
    codes, label = model.draw(8), torch.full((8,), -1)
    holes = torch.arange(codes[0].numel()).view(codes[0].shape) % 2 == 1
    known = codes.masked_fill(holes, -1)
    with torch.inference_mode():
        filled = model.prior.infill(1, range(8), label, model.recipe.prior.sampling, known)  # type: ignore[union-attr]
    assert ((filled >= 0) & (filled < model.prior.spec.size)).all()
    return float((filled != known)[known >= 0].sum())


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    arguments(parser, str(DATA / "fashion-mnist"), "runs/masked", "6min")
    parser.add_argument("--parallel", nargs="+", choices=["masked", "any-order"], default=["masked", "any-order"])
    parser.add_argument("--drawn", type=int, default=256, help="samples of a round of timing")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.budget, asked.judge_budget, asked.samples = "digits", "20 steps", "20 steps", 32
        asked.threads, asked.drawn, asked.rounds = 1, 8, 1
        asked.more = [*TINY, *asked.more]
    return asked


if __name__ == "__main__":
    main()
