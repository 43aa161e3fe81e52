"""The latents of a whole training set: made once after the codec's stage, kept in the run folder, read by the prior's stage."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from vitrail import durable
from vitrail.codecs.codec import Codec
from vitrail.data.dataset import Dataset
from vitrail.data.degradations import Degradation
from vitrail.data.loader import Loader, in_order
from vitrail.data.noise import generators
from vitrail.training.gradient import Autocast, seed_part
from vitrail.training.prior_step import CodeBatch
from vitrail.types import Batch, Latent

CHUNK = 256  # pictures encoded at once
SMALLEST_STD = 1e-4  # a channel that hardly varies is not blown up


@dataclass(frozen=True)
class Latents:
    """Codes (N, Q, *S), or normalised z (N, C, *S) where there are none, their labels (N,), and what else the prior is given."""

    latent: Tensor
    label: Tensor
    condition: Tensor | None = None  # of the hints, like `latent`; or captions (N, T)

    def __len__(self) -> int:
        return len(self.label)

    def stream(self, loader: Loader, start: int) -> Iterator[CodeBatch]:
        """Batches from a step on, in the loader's order."""
        for step in count(start):
            index = torch.from_numpy(loader.positions(step)[0])
            condition = None if self.condition is None else _wide(self.condition[index])
            yield CodeBatch(_wide(self.latent[index]), self.label[index], condition)


@dataclass(frozen=True)
class Encoder:
    """What makes latents of pictures as a prior is given them: codes where it wants these, or else normalised z."""

    codec: Codec
    discrete: bool
    seed: int
    degrade: Degradation | None = None  # what makes a hint of a picture; every picture has one, always the same
    autocast: Autocast = nullcontext

    def __call__(self, batch: Batch) -> CodeBatch:
        hint = None if self.degrade is None else self.degrade(batch.x, generators(self.seed, batch.index, 0))
        given = batch.text if hint is None else self._latent(hint)
        return CodeBatch(self._latent(batch.x), batch.label, given)

    def stream(self, loader: Loader, start: int) -> Iterator[CodeBatch]:
        """Batches from a step on, encoded as they come, augmented anew in every epoch."""
        return map(self, loader.stream(start))

    @torch.no_grad()
    def _latent(self, x: Tensor) -> Tensor:
        with self.autocast():
            x = x.to(self.codec.mean.device)
            return self.codec.codes(x) if self.discrete else self.codec.encode(x).z.float()


def normalise(path: Path, codec: Codec) -> None:
    """Set the codec's latent mean and std to those that `make` measured."""
    with safetensors.safe_open(path, "pt") as file:
        codec.mean.copy_(file.get_tensor("mean"))
        codec.std.copy_(file.get_tensor("std"))


@torch.no_grad()
def read(path: Path, codec: Codec, codes: bool = True) -> Latents:
    """What `make` kept, for a codec that `normalise` was called on; where there are codes, these or else their z."""
    with safetensors.safe_open(path, "pt") as file:
        held = {name: file.get_tensor(name) for name in file.keys() if name not in ("mean", "std")}  # noqa: SIM118
    label, text = held.pop("label"), held.pop("text", None)
    wanted = {name: _wanted(latent, codec, codes) for name, latent in held.items()}
    return Latents(wanted["latent"], label, wanted.get("condition", text))


def make(
    path: Path,
    codec: Codec,
    data: Dataset,
    seed: int,
    autocast: Autocast,
    keep: tuple[bool, bool] = (True, True),
    degrade: Degradation | None = None,
) -> None:
    """Encode a data set into a file, unless this codec did: latents, labels, captions, and the mean and std of z per channel.

    keep: whether codes are wanted where there are any, and z where there are none.
    degrade: what makes a hint of a picture, where the prior is given any; every picture has one, always the same.
    """
    maker = _digest(codec)
    if path.exists() and _told(path).get("codec") == maker:
        return
    started = time.perf_counter()
    tensors = _encoded(codec.eval(), data, seed, autocast, keep, degrade)
    told = {"vitrail": json.dumps({"seconds": time.perf_counter() - started, "codec": maker})}
    with durable.storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write_file(path, safetensors.torch.save(tensors, told), through=True)


@torch.no_grad()
def _encoded(
    codec: Codec, data: Dataset, seed: int, autocast: Autocast, keep: tuple[bool, bool], degrade: Degradation | None
) -> dict[str, Tensor]:
    """What the file holds."""
    device, bottleneck = codec.mean.device, codec.bottleneck
    kept, hints, texts, labels, values = [], [], [], [], 0
    total = squares = codec.mean.new_zeros(bottleneck.channels, dtype=torch.float64)
    for step, batch in enumerate(in_order(data, CHUNK)):
        seed_part(seed, "latents", step, 0, device)
        bottleneck.train(bottleneck.noisy)
        with autocast():
            latent = codec.squeeze(batch.x.to(device))
        bottleneck.eval()
        z = latent.z.double().reshape(*latent.z.shape[:2], -1)  # (B, C, S)
        total, squares, values = total + z.sum((0, 2)), squares + z.square().sum((0, 2)), values + len(z) * z.shape[2]
        labels.append(batch.label)
        if not keep[latent.codes is None]:
            continue
        kept.append(_small(latent, bottleneck.size))
        if batch.text is not None:
            texts.append(batch.text.short())
        if degrade is not None:
            x = degrade(batch.x, generators(seed, batch.index, 0))
            with autocast():
                hints.append(_small(codec.squeeze(x.to(device)), bottleneck.size))
    mean = total / values
    std = (squares / values - mean.square()).clamp_min(0).sqrt()
    tensors = {"label": torch.cat(labels), "mean": mean.float().cpu()}
    tensors["std"] = torch.where(std > SMALLEST_STD, std, 1.0).float().cpu()
    parts = {"latent": kept, "condition": hints, "text": texts}
    return tensors | {name: torch.cat(part).contiguous() for name, part in parts.items() if part}


def _wanted(latent: Tensor, codec: Codec, codes: bool) -> Tensor:
    """Codes as they are, or z normalised."""
    if not (codes or latent.is_floating_point()):
        device, values = codec.mean.device, codec.bottleneck.values
        latent = torch.cat([values(part.long().to(device)).cpu() for part in latent.split(CHUNK)])
    return codec.normalised(latent.to(codec.mean.device)).cpu() if latent.is_floating_point() else latent


def _told(path: Path) -> dict[str, Any]:
    """What the file says of itself."""
    with safetensors.safe_open(path, "pt") as file:
        told: dict[str, Any] = json.loads(file.metadata()["vitrail"])
    return told


def _digest(codec: Codec) -> str:
    """SHA-256 of what decides the latents: the weights of encoder and bottleneck."""
    digest = hashlib.sha256()
    for part in filter(None, (codec.encoder, codec.bottleneck)):
        for name, tensor in part.state_dict().items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _small(latent: Latent, size: int) -> Tensor:
    """Codes in the smallest integer type that holds them, or else z."""
    if latent.codes is None:
        return latent.z.cpu()
    return latent.codes.to(torch.uint8 if size <= 256 else torch.int16 if size <= 1 << 15 else torch.int32).cpu()


def _wide(latent: Tensor) -> Tensor:
    """Codes and captions as everything but a file has them."""
    return latent if latent.is_floating_point() else latent.long()
