"""Does a masked prior draw in 12 steps what an autoregressive one draws code by code, and how much faster?

    python benchmarks/masked.py [--budget 6min] [--samples 10000]

One VQ-VAE codec is trained; then two priors over its codes, for the same time each: that of the `maskgit` recipe and that of
`vqvae`. Both runs begin with the codec, whose weights then stand still. Bars: the masked prior's Frechet distance is at most
1.15 times the other's, at three times the speed, and codes that are given to be filled in around come back as they were.
"""

from __future__ import annotations

import argparse
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
STILL = ("training.codec.lr=1e-12", "training.codec.ema=0", "training.share=1e-6")  # one step that moves nothing
TINY = ("training.precision=fp32", "network.widths=[8,16]", "bottleneck.size=16")


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("masked", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    net = feature_net(asked)
    codec = trained(asked, "codec", "vqvae", "--set", "prior=null")
    runs = {name: over(asked, codec, recipe) for name, recipe in (("masked", "maskgit"), ("autoregressive", "vqvae"))}
    words = ("--features", str(net), "--samples", str(asked.samples), *UNPRICED)
    extra = {"masked": ("--steps", str(STEPS)), "autoregressive": ()}
    found = {name: evaluated(run, f"plain-{asked.samples}", *words, *extra[name]) for name, run in runs.items()}
    models = {name: vitrail.load(run) for name, run in runs.items()}
    figures = [Figure(f"{name}: Frechet distance", scores["frechet"]) for name, scores in found.items()]
    figures += [Figure(f"{name}: recognised", scores["recognised"]) for name, scores in found.items()]
    apart = found["masked"]["frechet"] / found["autoregressive"]["frechet"]
    figures.append(Figure("masked over autoregressive: Frechet distance", apart, relation="<=", bar=1.15))
    same = torch.equal(*(decoded(model) for model in models.values()))
    figures.append(Figure("both decode alike", float(same), relation="==", bar=1))
    figures += speeds(asked, models)
    figures.append(Figure("known codes that changed", changed(models["masked"]), relation="==", bar=0))
    finish("masked", figures, asked.quick, budget=asked.budget, samples=asked.samples)


def over(asked: argparse.Namespace, codec: Path, recipe: str) -> Path:
    """The run of a recipe's prior over the codec's codes."""
    settings = [word for setting in STILL for word in ("--set", setting)]
    return trained(asked, f"{recipe}-prior", recipe, "--from", str(codec), *settings)


def decoded(model: Model) -> torch.Tensor:
    """Pictures of some codes, by which two codecs are told apart."""
    spec = model.codec.latent_spec()
    codes = torch.randint(spec.size, (4, spec.levels, *spec.grid), generator=torch.Generator().manual_seed(0))
    return model.decode(codes)


def speeds(asked: argparse.Namespace, models: dict[str, Model]) -> list[Figure]:
    """Pictures per second of both, in turn."""
    torch.set_num_threads(asked.threads)
    settings = {"masked": {"steps": STEPS}, "autoregressive": {}}

    def speed(name: str) -> float:
        started = time.perf_counter()
        models[name].sample(asked.drawn, **settings[name])
        return asked.drawn / (time.perf_counter() - started)

    sides: dict[str, Callable[[], float]] = {name: partial(speed, name) for name in models}
    found = interleaved(sides, asked.rounds)
    gain = ratios(found["masked"], found["autoregressive"])
    return [
        *(measured(f"{name}: speed", values, "images/s") for name, values in found.items()),
        measured("masked over autoregressive: speed", gain, "times", relation=">=", bar=3.0),
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
