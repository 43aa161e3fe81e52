"""One pass over the data: what the scores of `evaluate` need of every picture, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.loader import in_order
from vitrail.data.modalities import image
from vitrail.metrics import codebook
from vitrail.metrics.jackknife import FOLDS, folds
from vitrail.metrics.psnr import psnr
from vitrail.metrics.ssim import ssim
from vitrail.model.model import Model
from vitrail.networks.features import FeatureNet
from vitrail.networks.features.inception import Inception
from vitrail.networks.features.small import Small

BLOCK = 256  # pictures in memory at a time
HIGHEST = 100.0  # dB; a picture without any error would make a mean infinite


@dataclass(frozen=True)
class Seen:
    """What was measured on N pictures; of reconstructions nothing where the model makes none that differ."""

    n: int
    space: tuple[int, ...]
    psnr: Tensor | None  # (N,) dB
    squared_error: Tensor | None  # (N,)
    ssim: Tensor | None  # (N,)
    counts: Tensor | None  # (FOLDS, Q, K) how often each code occurs, in each part of the pictures
    features: Tensor | None  # (N, D)
    x_hat_features: Tensor | None  # (N, D)
    labels: Tensor  # (N,) as the data says, -1 where unknown
    recognised: Tensor | None  # (N,) as a classifier says


@torch.inference_mode()
def seen(
    model: Model,
    data: Dataset,
    features: FeatureNet | None,
    wanted: int,
    report: Callable[[int], None],
    reconstruct: bool = True,
) -> Seen:
    """The first `wanted` pictures of a data set through model and feature net; not through the model unless `reconstruct`."""
    rows: list[dict[str, Tensor]] = []
    part, done = folds(wanted), 0
    for batch in in_order(data, min(BLOCK, wanted)):
        x, label = model.read(batch.x[: wanted - done]), batch.label[: wanted - done]
        found = (
            _reconstructed(model, x, features, part[done:]) if reconstruct and model.codec.encoder is not None else {}
        )
        rows.append({"label": label, **found, **_looked_at(features, x)})
        done += len(x)
        report(done)
        if done == wanted:
            break
    return _joined(rows, data.spec.space)


@torch.inference_mode()
def featured(model: Model, data: Dataset, net: FeatureNet, report: Callable[[int], None]) -> Tensor:
    """Features (N, D) of all pictures of a data set."""
    kept, done = [], 0
    for batch in in_order(data, BLOCK):
        kept.append(net.features(model.read(batch.x[: len(data) - done])).cpu())
        done += len(kept[-1])
        report(done)
        if done == len(data):
            break
    return torch.cat(kept)


def _looked_at(net: FeatureNet | None, x: Tensor) -> dict[str, Tensor]:
    """What a feature net makes of pictures, and which class it takes each for where it tells classes apart."""
    if net is None:
        return {}
    found = {"features": net.features(x)}
    if (logits := classified(net, found["features"])) is not None:
        found["recognised"] = logits.argmax(1)
    return found


def _reconstructed(model: Model, x: Tensor, features: FeatureNet | None, part: Tensor) -> dict[str, Tensor]:
    latent = model.encode(x)
    x_hat = model.decode(latent, tuple(x.shape[2:]))
    found = {"psnr": psnr(x, x_hat).clamp_max(HIGHEST), "ssim": ssim(x, x_hat)}
    found["squared_error"] = (x.double() - x_hat.double()).square().flatten(1).mean(1)
    if latent.codes is not None:
        size, of = model.codec.latent_spec().size, part[: len(x)].to(latent.codes.device)
        found["counts"] = torch.stack([codebook.count(latent.codes[of == fold], size) for fold in range(FOLDS)])
    if features is not None:
        found["x_hat_features"] = features.features(in_8_bits(x_hat))
    return found


def in_8_bits(x: Tensor) -> Tensor:
    """Pictures as they come back from a file, which is what the data is too."""
    return image.to_uint8(x).float() / 255


def classified(net: FeatureNet, features: Tensor) -> Tensor | None:
    """(B, K) the logits that a net gives to features of its own; None where it tells no classes apart."""
    return net.classified(features) if isinstance(net, Small | Inception) else None


def _joined(rows: list[dict[str, Tensor]], space: tuple[int, ...]) -> Seen:
    whole = {name: torch.cat([row[name] for row in rows]).cpu() for name in rows[0] if name != "counts"}
    counts = sum((row["counts"].cpu() for row in rows), torch.tensor(0)) if "counts" in rows[0] else None
    return Seen(
        n=len(whole["label"]),
        space=space,
        psnr=whole.get("psnr"),
        squared_error=whole.get("squared_error"),
        ssim=whole.get("ssim"),
        counts=counts,
        features=whole.get("features"),
        x_hat_features=whole.get("x_hat_features"),
        labels=whole["label"],
        recognised=whole.get("recognised"),
    )
