"""Training images per second of our loop and of pythae's, with pythae's own MNIST VAE networks in both.

    python benchmarks/train_speed.py [--networks mlp conv] [--rounds 5] [--seconds 10] [--batch 128] [--loss mse]

The networks are the layers of pythae (its default fully connected ones, and those of its MNIST benchmark): our codec
holds them as encoder and decoder around our Gaussian bottleneck, whose one linear layer replaces their two heads. Each
round trains fresh weights for the same number of steps of the same size on the same pictures, ours through
`training.loop.run` with its loader, log, averaged weights and checkpoints, theirs through `BaseTrainer.train` as they
ship it. Timed is the steady part: from the end of the first steps to the end of the last, whatever happens in between.
Bar: 1.5 times theirs in float32; bfloat16, which their loop cannot do on a CPU, stands beside it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import DATA, Figure, finish, interleaved, measured, options, ratios, say, skip
from torch import Tensor, nn

from vitrail.bottlenecks import gaussian
from vitrail.codecs.codec import Codec
from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_parts
from vitrail.data.loader import Loader
from vitrail.model.recipe import Stage, Training
from vitrail.objectives.reconstruction import bernoulli, mse
from vitrail.training import budget, loop
from vitrail.training.codec_step import CodecStep
from vitrail.training.job import Job
from vitrail.types import Batch

try:
    with contextlib.redirect_stdout(sys.stderr):
        from pythae.data.datasets import BaseDataset
        from pythae.models import VAE, VAEConfig
        from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
        from pythae.trainers import BaseTrainer, BaseTrainerConfig
        from pythae.trainers.training_callbacks import TrainingCallback
except ImportError as missing:
    skip("train_speed", f"{missing}; pip install 'vitrail[bench]'")

LATENTS = 16
SHAPE = (1, 28, 28)
WARM = 2  # first steps of a round, which are not timed
FEWEST = {"mlp": 200, "conv": 5}  # timed steps of a round
LIKELIHOODS = {"mse": mse, "bce": bernoulli}


@dataclass(frozen=True)
class Setting:
    """What both sides share."""

    networks: str  # mlp or conv
    loss: str  # as pythae calls it: mse or bce
    batch: int
    threads: int
    data: Dataset


def main() -> None:
    asked = _asked()
    data = _pictures(asked.quick)
    figures: list[Figure] = []
    for networks in asked.networks:
        setting = Setting(networks, asked.loss, asked.batch, asked.threads, data)
        figures += compare(setting, asked.rounds, asked.seconds, asked.quick)
    finish("train_speed", figures, asked.quick, batch=asked.batch, loss=asked.loss, threads=asked.threads)


def compare(setting: Setting, rounds: int, seconds: float, quick: bool) -> list[Figure]:
    """All sides in turn."""
    name, longest = setting.networks, len(setting.data) // setting.batch
    steps = WARM + (3 if quick else FEWEST[name])
    if not quick:
        rate = theirs(setting, min(steps, longest))
        steps = min(max(steps, math.ceil(seconds * rate / setting.batch)), longest)
    say(f"{name}: {steps} steps of {setting.batch} a round")
    sides: dict[str, Callable[[], float]] = {
        "ours": partial(ours, setting, steps, "fp32"),
        "pythae": partial(theirs, setting, steps),
        "ours in bf16": partial(ours, setting, steps, "bf16"),
    }
    found = interleaved(sides, rounds)
    gain, gain16 = (ratios(found[side], found["pythae"]) for side in ("ours", "ours in bf16"))
    size = _weights(codec(setting)) / _weights(_model(setting))
    return [
        Figure(f"{name}: parameters of ours over theirs", size, relation="==", bar=1),
        *(measured(f"{name}: {side}", values, "images/s") for side, values in found.items()),
        measured(f"{name}: gain", gain, "times", relation=">=", bar=1.5),
        measured(f"{name}: gain of bf16", gain16, "times"),
    ]


def ours(setting: Setting, steps: int, precision: str) -> float:
    """Images per second of a codec stage with the settings of our `vae` recipe."""
    module = CodecStep(codec(setting), None, seed=0)
    loader = Loader(setting.data, setting.batch, seed=0, augment=DataConfig())
    asked_at: list[float] = []

    def batches(start: int) -> Iterator[Batch]:
        for batch in loader.stream(start):
            asked_at.append(time.perf_counter())
            yield batch
            asked_at.append(time.perf_counter())

    job = Job(
        "codec", module, batches, Stage(batch=setting.batch), {}, budget.read(f"{steps} steps"), len(setting.data)
    )
    with tempfile.TemporaryDirectory() as folder:
        loop.run(job, Path(folder), Training(precision=precision, threads=setting.threads))
    ends = asked_at[1::2]  # when the loop came back for the next batch, that is, had ended a step
    return setting.batch * (len(ends) - WARM) / (ends[-1] - ends[WARM - 1])


def theirs(setting: Setting, steps: int) -> float:
    """Images per second of an epoch over as many pictures."""
    torch.set_num_threads(setting.threads)
    images = setting.data.pixels[: steps * setting.batch].float() / 255
    dataset = BaseDataset(images, setting.data.labels[: len(images)])
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder, _quiet():
        sizes = {"per_device_train_batch_size": setting.batch, "num_epochs": 1}
        config = BaseTrainerConfig(folder, **sizes, learning_rate=1e-3, no_cuda=True)
        BaseTrainer(_model(setting), dataset, training_config=config, callbacks=[clock]).train()
    return setting.batch * (steps - WARM) / (clock.ends[-1] - clock.ends[WARM - 1])


class _Clock(TrainingCallback):
    """When each of pythae's steps ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())


def codec(setting: Setting) -> Codec:
    """Our codec with pythae's layers."""
    model = _model(setting)
    likelihood = LIKELIHOODS[setting.loss].Config().build(SHAPE[0])
    bottleneck = gaussian.Config(channels=LATENTS).build(model.encoder.embedding.in_features)
    with torch.no_grad():  # their two heads, one above the other
        for name in ("weight", "bias"):
            heads = [getattr(head, name) for head in (model.encoder.embedding, model.encoder.log_var)]
            getattr(bottleneck.project, name).copy_(torch.cat(heads))
    return Codec(
        _Encoder(model.encoder.layers), bottleneck, _Decoder(model.decoder.layers, setting.loss), likelihood, 0, SHAPE
    )


class _Encoder(nn.Module):
    """pythae's encoder without its heads: x in [-1, 1] -> (B, width)."""

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers, self.flat = layers, isinstance(layers[0][0], nn.Linear)

    def forward(self, x: Tensor) -> Tensor:
        h = (x + 1) / 2  # they read [0, 1]
        for layer in self.layers:
            h = layer(h.flatten(1) if self.flat else h)
        return h.flatten(1)


class _Decoder(nn.Module):
    """pythae's decoder: (B, D) -> (B, 1, 28, 28), logits for the Bernoulli, else values in [-1, 1]."""

    def __init__(self, layers: nn.ModuleList, loss: str) -> None:
        super().__init__()
        self.layers = layers
        self.logits = loss == "bce"
        if self.logits:
            self.layers[-1] = layers[-1][0]  # our likelihood applies the sigmoid itself

    def forward(self, z: Tensor) -> Tensor:
        h = self.layers[0](z)
        if len(self.layers) > 2:
            h = h.unflatten(1, (1024, 4, 4))
        for layer in self.layers[1:]:
            h = layer(h)
        h = h.reshape(-1, *SHAPE)
        return h if self.logits else 2 * h - 1


def _model(setting: Setting) -> VAE:
    """pythae's VAE with the networks that were asked for."""
    config = VAEConfig(input_dim=SHAPE, latent_dim=LATENTS, reconstruction_loss=setting.loss)
    torch.manual_seed(0)
    if setting.networks == "mlp":
        return VAE(config)
    return VAE(config, Encoder_Conv_VAE_MNIST(config), Decoder_Conv_AE_MNIST(config))


def _weights(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _pictures(quick: bool) -> Dataset:
    """MNIST where it is at hand, else noise of its shape; in memory on both sides."""
    folder = DATA / "mnist"
    if folder.is_dir() and not quick:
        return open_parts(str(folder), DataConfig())[0]
    say("noise instead of MNIST")
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "noise.npy"
        noise = np.random.default_rng(0).integers(0, 256, (2048 if quick else 60_000, 28, 28), dtype=np.uint8)
        np.save(path, noise)
        return open_parts(str(path), DataConfig())[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep pythae's log and progress bar, which it draws all the same, off the screen."""
    logging.disable(logging.INFO)
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
    logging.disable(logging.NOTSET)


def _asked() -> Any:
    parser = options(__doc__)
    parser.add_argument("--networks", nargs="+", choices=["mlp", "conv"], help="default: both, quick: mlp")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a round of theirs, about")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--loss", choices=list(LIKELIHOODS), default="mse", help="mse is pythae's default")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    asked.networks = asked.networks or (["mlp"] if asked.quick else ["mlp", "conv"])
    if asked.quick:
        asked.rounds, asked.batch, asked.threads = 1, 16, 1
    return asked


if __name__ == "__main__":
    main()
