"""Reconstructions of `vqvae`'s codec beside pythae's VQ-VAE after the same time, and beside a codebook that k-means finds.

    python benchmarks/codec_peers.py [--seconds 180] [--isa AVX2] [--data DATA/fashion-mnist]

Both train at the same time, one thread each, so that whatever disturbs the machine disturbs both. pythae's net is the ResNet that
it proposes for MNIST, with 512 codes of 16 numbers and its default training; it keeps 4x4 codes of a 28x28 picture where ours
keeps 7x7, so the k-means codebook of 4x4 patches, which costs as many bits as ours, stands beside them. All are judged by the
test pictures: PSNR, and the Frechet distance of the reconstructions in the features of a classifier.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from baselines import codebook
from judging import feature_net, features, in_bytes, reconstructed
from measuring import DATA, Figure, environment, finish, options, say, skip
from peers import quiet, timer, weights
from quality_per_flop import BLOCK, decibels, pictures

from vitrail.metrics.frechet import frechet
from vitrail.networks.features import load_features

PLAIN = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
CODES, PATCH = 512, 4
BARS: dict[str, dict[str, Any]] = {
    "distance over pythae's": {"relation": "<=", "bar": 0.2},
    "PSNR over pythae's": {"relation": ">=", "bar": 4.0},
}


def main() -> None:
    asked = _asked()
    if asked.data != "digits" and not Path(asked.data).exists():
        skip("codec_peers", f"no data at {asked.data}; give --data or VITRAIL_TEST_DATA")
    if asked.peer:
        return pythae(asked)
    net = load_features(str(feature_net(asked)))
    data = pictures(asked.data, "test")
    ours, theirs = trained(asked)
    remade = {
        "vqvae": reconstructed(ours, data.test),
        "pythae": torch.from_numpy(np.load(theirs)),
        "k-means": in_bytes(codebook(data.train.float() / 255, data.test.float() / 255, PATCH, CODES, 0)),
    }
    real, figures, found = features(net, data.test), [], {}
    for name, made in remade.items():
        found[name] = decibels(data.test, made), frechet(real, features(net, made))
        figures += [Figure(f"{name}: PSNR", found[name][0], "dB"), Figure(f"{name}: Frechet distance", found[name][1])]
    ratio, more = found["vqvae"][1] / found["pythae"][1], found["vqvae"][0] - found["pythae"][0]
    figures += [
        Figure("distance over pythae's", ratio, **BARS["distance over pythae's"]),
        Figure("PSNR over pythae's", more, "dB", **BARS["PSNR over pythae's"]),
    ]
    finish("codec_peers", figures, asked.quick, seconds=asked.seconds, isa=asked.isa, data=asked.data)


def trained(asked: argparse.Namespace) -> tuple[Path, Path]:
    """Our run and pythae's reconstructions, made at the same time unless they are there."""
    name = f"{asked.isa or 'native'}-{asked.seconds:g}s"
    run, theirs = asked.out / f"vqvae-{name}", asked.out / f"pythae-{name}.npy"
    surroundings = {**environment(), **(PLAIN if asked.isa else {})}
    settings = [word for setting in ("prior=null", "training.threads=1", *asked.set) for word in ("--set", setting)]
    own = ["train", "vqvae", "--data", asked.data, "--out", str(run), "--budget", f"{asked.seconds:g}s", *settings]
    commands = {
        run / "model": ["-m", "vitrail", *own],
        theirs: [__file__, "--peer", str(theirs), "--data", asked.data, "--seconds", str(asked.seconds)],
    }
    started = []
    for made, command in commands.items():
        if not made.exists():
            say(f"$ python {' '.join(command)}")
            started.append(subprocess.Popen([sys.executable, *command], env={**os.environ, **surroundings}))
    failed = sum(process.wait() != 0 for process in started)
    if failed:
        sys.exit(1)
    return run, theirs


def pythae(asked: argparse.Namespace) -> None:
    """Train pythae's VQ-VAE and write its reconstructions of the test pictures."""
    with contextlib.redirect_stdout(sys.stderr):
        from pythae.data.datasets import BaseDataset
        from pythae.models import VQVAE, VQVAEConfig
        from pythae.models.nn.benchmarks.mnist import Decoder_ResNet_VQVAE_MNIST, Encoder_ResNet_VQVAE_MNIST
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = pictures(asked.data, "test")
    config = VQVAEConfig(input_dim=tuple(data.spec.shape), latent_dim=16, num_embeddings=CODES)
    model = VQVAE(config, Encoder_ResNet_VQVAE_MNIST(config), Decoder_ResNet_VQVAE_MNIST(config))
    learn = BaseDataset(data.train.float() / 255, torch.zeros(len(data.train)))
    clock = timer(asked.seconds)
    with tempfile.TemporaryDirectory() as place, quiet(), contextlib.suppress(TimeoutError):
        settings = BaseTrainerConfig(place, num_epochs=10**6, no_cuda=True)
        BaseTrainer(model, learn, training_config=settings, callbacks=[clock]).train()
    model.eval()
    with torch.inference_mode():
        made = [model.reconstruct(part.float() / 255) for part in data.test.split(BLOCK)]
    np.save(asked.peer, in_bytes(torch.cat(made).view_as(data.test)).numpy())
    say(f"pythae: {clock.steps} steps, {64 * clock.steps} pictures, {weights(model)} weights")


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--data", default=str(DATA / "fashion-mnist"))
    parser.add_argument("--seconds", type=float, default=180, help="of training, of both at the same time")
    parser.add_argument("--isa", choices=["AVX2"], help="train without the instructions that newer processors have")
    parser.add_argument("--judge-budget", default="3min", help="of the classifier whose features judge")
    parser.add_argument("--out", type=Path, default=Path("runs/codec_peers"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to `vitrail train`")
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    asked: argparse.Namespace = parser.parse_args()
    if asked.quick:
        asked.seconds, asked.judge_budget = 3, "20 steps"
        asked.set = ["training.precision=fp32", "network.widths=[8,16]"]
    return asked


if __name__ == "__main__":
    main()
