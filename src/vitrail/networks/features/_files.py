"""Feature nets on disk: a folder that vitrail wrote (config.json + features.safetensors), or a foreign weight file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from vitrail.errors import ModelError, UsageError
from vitrail.networks.features import dino, inception, small
from vitrail.networks.features._interface import FeatureNet

FORMAT = 1  # of the folder
WEIGHTS, CONFIG = "features.safetensors", "config.json"


def load_features(path: str | Path) -> FeatureNet:
    """The feature net in a folder or weight file, in evaluation mode, without gradients, its name and sha256 set.

    Told apart by looking: a folder by its config.json, a .safetensors file by the names of its tensors.
    Raises ModelError on anything unreadable, and on every tensor that is missing, left over or misshapen, by name.
    """
    path = Path(path)
    if path.is_dir():
        net, file = _described(path), path / WEIGHTS
        weights = _read(file)
    else:
        file, weights = path, _read(path)
        net = _recognised(weights, path)
    fill(net, weights, file)
    net.sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return net.eval().requires_grad_(False)


def load_fitting(path: str | Path, shape: tuple[int, ...]) -> tuple[FeatureNet, tuple[tuple[int, ...], ...]]:
    """`load_features`, with (C, h, w) of the net's maps of a picture.   Raises UsageError where it takes none of this shape."""
    net = load_features(path)
    try:
        with torch.no_grad():
            return net, tuple(tuple(found.shape[1:]) for found in net.maps(torch.zeros(1, *shape)))
    except (UsageError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"the feature net at {path} does not take pictures of shape {shape}: {first}") from None


def packed(net: small.Small, record: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of a trained net's folder by name; `record`: JSON values on how it was made, kept in config.json."""
    weights = {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}
    described = {"format": FORMAT, "net": net.config.printed(), "record": dict(record)}
    return {WEIGHTS: save(weights), CONFIG: (json.dumps(described, indent=2) + "\n").encode()}


def fill(net: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Copy weights into a net.   Raises ModelError that names every tensor missing, left over or misshapen.

    Batch norm's `num_batches_tracked` may be absent: evaluation never reads it, and some exporters drop it.
    """
    own = net.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    problems = [f"missing {key}" for key in sorted(own.keys() - weights.keys() - counters)]
    problems += [f"unused {key}" for key in sorted(weights.keys() - own.keys())]
    problems += [
        f"{key} is {tuple(weights[key].shape)}, not {tuple(own[key].shape)}"
        for key in sorted(own.keys() & weights.keys())
        if weights[key].shape != own[key].shape
    ]
    if problems:
        raise ModelError(f"{source} does not fit this feature net: {'; '.join(problems)}")
    net.load_state_dict(dict(weights), strict=False)  # judged above


def _described(folder: Path) -> FeatureNet:
    """The untrained net that a folder's config.json describes."""
    try:
        tree = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        settings = dict(tree["net"])
        if tree["format"] != FORMAT or settings.pop("name") != "small":
            raise ModelError(f"{folder} holds a feature net of another format; this vitrail reads format {FORMAT}")
        return small.Config.model_validate(settings).build()
    except FileNotFoundError:
        raise ModelError(f"{folder} is no feature net: it has no {CONFIG}") from None
    except (OSError, ValidationError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{folder / CONFIG} cannot be read: {str(error).splitlines()[0]}") from None


def _recognised(weights: Mapping[str, Tensor], path: Path) -> FeatureNet:
    """The untrained net whose layout a foreign weight file has."""
    if "Conv2d_1a_3x3.conv.weight" in weights:
        return inception.Config().build()
    if "cls_token" in weights:
        return dino.Config.from_weights(weights).build()
    first = ", ".join(sorted(weights)[:3])
    raise ModelError(f"{path} has the layout of no known feature net (inception, dino); its tensors begin {first}")


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ModelError(f"no feature net at {file}: give a folder with {CONFIG}, or a .safetensors file")
    if file.suffix != ".safetensors":
        raise ModelError(
            f"{file} is not a .safetensors file; convert a pickled checkpoint with "
            f"`python -m vitrail.interop.checkpoint {file.name} {file.stem}.safetensors`"
        )
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from None
