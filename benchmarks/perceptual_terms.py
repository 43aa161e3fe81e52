"""What a term beside the squared error does to a codec: every perceptual distance that needs no weights, at several weights.

    python benchmarks/perceptual_terms.py [--data CIFAR.npz] [--test CIFAR-TEST.npz] [--images 30000] [--only NAME ...]

Trains the codec of `vqvae` once with each term, on equally many pictures in the same order, and judges what it makes of test
pictures: PSNR, the Frechet distance in a classifier's features, and the share that the classifier still takes for what it is.
A larger codebook stands beside them, as another way to spend effort. Called again it resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from colour import LEARN, UNSEEN
from judging import feature_net, features, reconstructed
from main_job import vitrail
from measuring import DATA, Figure, finish, options, say, skip
from quality_per_flop import decibels

from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_dataset, open_parts
from vitrail.metrics.frechet import frechet
from vitrail.networks.features import load_features, small

TERMS: Mapping[str, tuple[str, ...]] = {
    "none": ("perceptual=null",),
    "frequency": ("perceptual=frequency",),
    "gradient": ("perceptual=gradient",),
    "ssim 0.02": ("perceptual=ssim", "weights.perceptual=0.02"),
    "ssim 0.05": ("perceptual=ssim", "weights.perceptual=0.05"),
    "ssim 0.1": ("perceptual=ssim", "weights.perceptual=0.1"),
    "none, 1,024 codes": ("perceptual=null", "bottleneck.size=1024"),
    "none, 2,048 codes": ("perceptual=null", "bottleneck.size=2048"),
}


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("perceptual_terms", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    net = load_features(str(feature_net(asked)))
    assert isinstance(net, small.Small)
    data = tested(asked)
    real, figures = features(net, data.images(range(len(data)))), []
    count = min(asked.count, len(data))
    x, labels = data.images(range(count)), data.labels[:count]
    for name in asked.only or TERMS:
        run = asked.out / name.replace(" ", "-").replace(",", "")
        settings = (
            "prior=null",
            "training.threads=1",
            f"training.precision={asked.precision}",
            *TERMS[name],
            *asked.more,
        )
        words = [word for setting in settings for word in ("--set", setting)]
        vitrail("train", "vqvae", "--data", asked.data, "--out", str(run), "--budget", f"{asked.images} images", *words)
        made = reconstructed(run, x)
        found = features(net, made)
        figures += [
            Figure(f"{name}: PSNR", decibels(x, made), "dB"),
            Figure(f"{name}: Frechet distance", frechet(real, found)),
            Figure(f"{name}: recognised", float((net.classified(found).argmax(1) == labels).float().mean())),
        ]
        say(f"{name}: {[round(figure.value, 3) for figure in figures[-3:]]}")
    finish("perceptual_terms", figures, asked.quick, data=asked.data, images=asked.images)


def tested(asked: argparse.Namespace) -> Dataset:
    """Pictures that judge."""
    return open_dataset(str(asked.test), DataConfig(), "all") if asked.test else open_parts(asked.data, DataConfig())[1]


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--data", default=str(DATA / LEARN))
    parser.add_argument(
        "--test", type=Path, help="a set of its own to judge by; default: CIFAR's, else the held-out part"
    )
    parser.add_argument(
        "--count", type=int, default=4000, help="test pictures that are reconstructed; all are in the distance"
    )
    parser.add_argument("--images", type=int, default=30_000, help="that every codec sees")
    parser.add_argument("--only", nargs="*", choices=list(TERMS), help="of the terms")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16", help="of training")
    parser.add_argument("--judge-budget", default="8min", help="of the classifier whose features judge")
    parser.add_argument("--out", type=Path, default=Path("runs/perceptual_terms"))
    parser.add_argument("--set", dest="more", action="append", default=[], metavar="KEY=VALUE", help="for the recipe")
    asked: argparse.Namespace = parser.parse_args()
    if asked.test is None and asked.data == str(DATA / LEARN):
        asked.test = DATA / UNSEEN
    if asked.quick:
        asked.data, asked.test, asked.images, asked.judge_budget, asked.count = "digits", None, 128, "20 steps", 64
        asked.precision, asked.only, asked.more = "fp32", ["none", "ssim 0.05"], ["network.widths=[8,16]"]
    return asked


if __name__ == "__main__":
    main()
