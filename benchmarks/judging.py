"""One judge for whoever made the pictures: the feature net, the held-out pictures and the metrics of `vitrail evaluate`."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from main_job import vitrail
from torch import Tensor

from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_parts
from vitrail.metrics.frechet import frechet
from vitrail.metrics.prdc import prdc
from vitrail.model import folder
from vitrail.networks.features import FeatureNet, load_features

BLOCK = 256  # pictures in memory at a time
UNPRICED = ("--likelihood", "0", "--no-copies")  # which take long, and are asked for elsewhere


@dataclass(frozen=True)
class Judge:
    """What sets of pictures are compared by."""

    net: FeatureNet
    real: Tensor  # (N, D) features of the held-out pictures

    def scores(self, pictures: Tensor) -> dict[str, float]:
        """Frechet distance, precision and recall of pictures (M, C, H, W) uint8."""
        fake = features(self.net, pictures)
        near = prdc(self.real, fake)
        return {"frechet": frechet(self.real, fake), "precision": near.precision, "recall": near.recall}


def judge(net: Path, data: str) -> Judge:
    """By a feature net and the held-out part of a data set."""
    loaded = load_features(str(net))
    _, heldout = open_parts(data, DataConfig())
    assert heldout.pixels is not None
    return Judge(loaded, features(loaded, heldout.pixels))


@torch.inference_mode()
def reconstructed(run: Path, pictures: Tensor) -> Tensor:
    """What a run's codec makes of pictures, both (N, C, H, W) uint8."""
    model = folder.load(run / "model")
    return torch.cat([in_bytes(model.reconstruct(part.float() / 255)) for part in pictures.split(BLOCK)])


def in_bytes(x: Tensor) -> Tensor:
    """Values in [0, 1] as uint8."""
    return (x.clamp(0, 1) * 255).round().byte()


@torch.inference_mode()
def features(net: FeatureNet, pictures: Tensor) -> Tensor:
    """(N, C, H, W) uint8 -> (N, D)."""
    return torch.cat([net.features(part.float() / 255) for part in pictures.split(BLOCK)])


def feature_net(asked: argparse.Namespace) -> Path:
    """The judge's folder, trained unless it is there."""
    net: Path = asked.out / "judge"
    if not (net / "config.json").exists():
        vitrail("features", "train", "--data", asked.data, "--out", str(net), "--budget", asked.judge_budget)
    return net


def trained(asked: argparse.Namespace, name: str, recipe: str, *words: str) -> Path:
    """A run, trained unless it is done; `words` are further ones of `vitrail train`."""
    run: Path = asked.out / f"{name}-{asked.seed}-{asked.budget.replace(' ', '')}"
    threads = ("--set", f"training.threads={asked.threads}")
    settings = [word for setting in asked.more for word in ("--set", setting)]
    told = ["--data", asked.data, "--out", str(run), "--budget", asked.budget, "--seed", str(asked.seed)]
    vitrail("train", recipe, *told, *threads, *words, *settings)
    return run


def evaluated(run: Path, name: str, *words: str) -> dict[str, float]:
    """Scores of a run by metric; `words` are further ones of `vitrail evaluate`.

    What an earlier call found of the same model is read instead.
    """
    file, made = run / f"{name}.json", json.loads((run / "model" / "config.json").read_text())["fingerprint"]
    if not file.exists() or json.loads(file.read_text())["fingerprint"] != made:
        vitrail("evaluate", str(run), "--out", str(file), *words)
    return {score["metric"]: score["value"] for score in json.loads(file.read_text())["scores"]}


def arguments(parser: argparse.ArgumentParser, data: str, out: str, budget: str) -> None:
    """The options of a benchmark that trains and judges."""
    parser.add_argument("--data", default=data)
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--budget", default=budget, help="of every system")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=10_000, help="that are drawn and judged")
    parser.add_argument("--threads", type=int, default=2, help="of every system, one after the other")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16", help="that our samples are drawn in")
    parser.add_argument("--judge-budget", default="3min", help="of the classifier whose features judge")
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="for our recipes")
