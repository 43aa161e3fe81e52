"""How near are samples to the data after ten minutes on two cores, beside diffusers' and pythae's, by one judge?

    python benchmarks/generation.py [--recipes latent-diffusion flow] [--only ours peers] [--budget 10min]

Fashion-MNIST; every system trains alone on two threads, one after the other. The peers: diffusers' example of unconditional
training with a UNet of 1.6 M parameters, sampled by DDIM; pythae's VAE, with its dense and its convolutional networks, and
normal sampling. Judged are 10,000 samples of each, by the same feature net against the same held-out pictures. The bars are
those of the best of our recipes. Asked again it goes on, and reads what is done; other settings of ours leave the peers be.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from judging import UNPRICED, arguments, evaluated, feature_net, judge, trained
from measuring import DATA, Figure, finish, options, skip
from peers import PEERS, made

from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_parts
from vitrail.training import budget

SHOWN = ("frechet", "precision", "recall", "recognised", "classifier_accuracy")
FEW, MANY = ("--sampler", "dpmpp-2m", "--steps", "20"), ("--sampler", "ddim", "--steps", "100")
TINY = ("training.precision=fp32",)
AGREE = 1e-3  # relative, of both ways to judge the same samples


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("generation", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    net = feature_net(asked)
    ours = (
        {recipe: our_scores(asked, net, recipe) for recipe in (*asked.recipes, "vae")} if "ours" in asked.only else {}
    )
    peers = {peer: peer_scores(asked, net, peer) for peer in asked.peers} if "peers" in asked.only else {}
    figures = [
        Figure(f"{system}: {metric.replace('_', ' ')}", scores[metric])
        for system, scores in (ours | peers).items()
        for metric in (*SHOWN, *(name for name in scores if name not in SHOWN))
        if metric in scores and metric != "seed"
    ]
    if ours:
        figures += [*bars(asked, ours, peers), agreement(asked, net)]
    told = {"budget": asked.budget, "samples": asked.samples, "peer_steps": asked.peer_steps, "threads": asked.threads}
    finish("generation", figures, asked.quick, **told)


def our_scores(asked: argparse.Namespace, net: Path, recipe: str) -> dict[str, float]:
    """Train a recipe, and judge it: as it is, with guidance, and in 20 and 100 steps where it takes any."""
    run = trained(asked, recipe, recipe)
    words = ("--features", str(net), "--precision", asked.precision, *UNPRICED, "--samples", str(asked.samples))
    scores = evaluated(run, f"plain-{asked.samples}", *words)
    found = {metric: scores[metric] for metric in SHOWN if metric in scores}
    if recipe == "vae":
        return found
    guided = evaluated(run, f"guided-{asked.guidance:g}-{asked.samples}", *words, "--guidance", f"{asked.guidance:g}")
    fewer = (*words[:-1], str(asked.compared))  # 100 steps take long
    few = evaluated(run, f"few-{asked.compared}", *fewer, *FEW)
    many = evaluated(run, f"many-{asked.compared}", *fewer, *MANY)
    found |= {f"guided {metric}": guided[metric] for metric in SHOWN[:-1] if metric in guided}
    return found | {"frechet of 20 steps": few["frechet"], "frechet of 100 steps of ddim": many["frechet"]}


def peer_scores(asked: argparse.Namespace, net: Path, peer: str) -> dict[str, float]:
    """Train a peer for as long, and judge its samples."""
    data, _ = open_parts(asked.data, DataConfig())
    assert data.pixels is not None
    seconds = asked.peer_seconds or budget.read(asked.budget).amount
    folder = made(peer, data.pixels, seconds, asked.samples, asked.out, asked.threads, asked.peer_steps)
    scores = judge(net, asked.data).scores(torch.from_numpy(np.load(folder / "samples.npy")))
    told: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return scores | {"parameters": told["parameters"], "pictures seen": told["images"]}


def bars(
    asked: argparse.Namespace, ours: dict[str, dict[str, float]], peers: dict[str, dict[str, float]]
) -> list[Figure]:
    """The best of our recipes beside everything else."""
    best = min(asked.recipes, key=lambda recipe: _nearest(ours[recipe]))
    scores, near = ours[best], _nearest(ours[best])
    found = [
        Figure(f"{best} over {peer}: Frechet distance", near / other["frechet"], relation="<=", bar=1 / 15)
        for peer, other in peers.items()
    ]
    missing = {"diffusers", "pythae"} - {peer.partition("-")[0] for peer in peers}
    found += [
        Figure(f"{best} over {peer}: not run", float("nan"), relation="<=", bar=1 / 15) for peer in sorted(missing)
    ]
    found.append(Figure(f"{best} over vae: Frechet distance", near / ours["vae"]["frechet"], relation="<=", bar=1 / 4))
    steps = scores["frechet of 20 steps"] / scores["frechet of 100 steps of ddim"]
    found.append(Figure(f"{best}: 20 steps of dpmpp-2m over 100 of ddim", steps, relation="<=", bar=1.1))
    if "guided recognised" in scores:
        recognised = scores["guided recognised"]
        found.append(Figure(f"{best}: recognised with guidance", recognised, relation=">=", bar=0.95))
    return found


def _nearest(scores: dict[str, float]) -> float:
    """The Frechet distance, with guidance where that is nearer."""
    return min(scores["frechet"], scores.get("guided frechet", scores["frechet"]))


def agreement(asked: argparse.Namespace, net: Path) -> Figure:
    """Whether the peers' judge says of our samples what `vitrail evaluate` says."""
    import vitrail
    from vitrail.data.modalities import image

    run, few = trained(asked, asked.recipes[0], asked.recipes[0]), 256
    told = evaluated(run, f"plain-{few}", "--features", str(net), "--samples", str(few), *UNPRICED)["frechet"]
    again = judge(net, asked.data).scores(image.to_uint8(vitrail.load(run).sample(few)))["frechet"]
    same = float(abs(again / told - 1) < AGREE)
    return Figure("both judges agree on our samples", same, relation="==", bar=1)


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    arguments(parser, str(DATA / "fashion-mnist"), "runs/generation", "10min")
    parser.add_argument("--recipes", nargs="+", default=["latent-diffusion"])
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=None, help="default: all that are installed")
    parser.add_argument("--only", nargs="+", choices=["ours", "peers"], default=["ours", "peers"])
    parser.add_argument("--guidance", type=float, default=2.0, help="of the conditional scores")
    parser.add_argument("--compared", type=int, default=2000, help="samples by which 20 and 100 steps are compared")
    parser.add_argument("--peer-steps", type=int, default=50, help="of DDIM, for diffusers' samples")
    parser.add_argument("--peer-seconds", type=float, help="default: the budget")
    asked = parser.parse_args()
    if asked.quick:
        asked.data, asked.budget, asked.judge_budget, asked.samples = "digits", "20 steps", "20 steps", 32
        asked.compared, asked.precision = 32, "fp32"
        asked.more, asked.peer_steps, asked.peer_seconds, asked.threads = [*TINY, *asked.more], 2, 1.0, 1
    if asked.peers is None:
        there = [peer for peer in PEERS if importlib.util.find_spec(peer.partition("-")[0])]
        asked.peers = [peer for peer in there if not (asked.quick and peer == "pythae-conv")]  # which wants 28 x 28
    return asked


if __name__ == "__main__":
    main()
