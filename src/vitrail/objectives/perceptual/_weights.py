"""Weights of LPIPS from a file or from the hub, in any of the layouts in circulation, as names of one kind."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitrail.data.download import checksum
from vitrail.errors import ModelError

HUB = "hf:"
DEFAULT_FILE = "model.safetensors"
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # ImageNet's mean and deviation, of RGB in [-1, 1]
CLASSIFIER = ("classifier.", "pre_logits.", "head.")  # of whole VGG16s, as torchvision and timm name it
VGG = re.compile(r"^(?:features|net\.slice[1-5])\.(\d+\.(?:weight|bias))$")
HEAD = re.compile(r"^lin(?:s\.)?([0-4])(?:\.model)?(?:\.[01])?\.weight$")  # the lpips package writes each one twice


def located(place: str) -> Path:
    """The file at a path, or its local copy for hf:owner/name[:file], fetched where there is none.   Raises ModelError."""
    path = Path(place).expanduser()
    if not place.startswith(HUB):
        if not path.is_file():
            raise ModelError(
                f"no weights at {place}: wants a .safetensors file, or a place on the hub, hf:owner/name:file"
            )
    else:
        path = _from_hub(*place.removeprefix(HUB).partition(":")[::2], place)
    if path.suffix != ".safetensors":
        raise ModelError(
            f"{place} is not a .safetensors file; convert a pickled checkpoint with "
            f"`python -m vitrail.interop.checkpoint {path.name} {path.stem}.safetensors`"
        )
    return path


def read(path: Path, sha256: str = "") -> dict[str, Tensor]:
    """The tensors of a file, but for a classifier's.   Raises ModelError where it is damaged, or `sha256` given and another."""
    try:
        if sha256 and (found := checksum(path, "sha256")) != sha256:
            raise ModelError(f"{path}: its sha256 is {found}, wanted {sha256}")
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if not name.startswith(CLASSIFIER)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {' '.join(str(error).split())}") from None


def renamed(weights: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Named as Lpips names them: `vgg.features.0.weight` and so on, and the linear heads `heads.0` to `heads.4` of shape (C,).

    Layouts: VGG16 of torchvision or timm (`features.0.weight`), the lpips package and taming (`net.slice1.0.weight`), heads
    alone or with either (`lin0.model.1.weight`). All else keeps its name, for who loads to refuse.
    Raises ModelError on another input scaling, and on two tensors of one meaning that differ.
    """
    made: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name in ("scaling_layer.shift", "scaling_layer.scale"):
            _check_scaling(name, tensor, source)
            continue
        key = _key(name)
        tensor = tensor.flatten() if key.startswith("heads.") else tensor
        if key in made and not torch.equal(made[key], tensor):
            raise ModelError(f"{source} holds two tensors for {key} that differ, {name} being one")
        made[key] = tensor
    return made


def joined(weights: dict[str, Tensor], others: dict[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Both.   Raises ModelError where both hold a tensor."""
    if both := sorted(weights.keys() & others.keys()):
        raise ModelError(f"{source} holds what the other file holds already: {', '.join(both)}")
    return {**weights, **others}


def _key(name: str) -> str:
    if match := VGG.match(name):
        return f"vgg.features.{match[1]}"
    return f"heads.{match[1]}" if (match := HEAD.match(name)) else name


def _check_scaling(name: str, tensor: Tensor, source: Path) -> None:
    wanted = torch.tensor(SHIFT if name.endswith("shift") else SCALE)
    if tensor.numel() != len(wanted) or not torch.allclose(tensor.float().flatten(), wanted, atol=1e-4):
        raise ModelError(f"{source}: {name} is {tensor.flatten().tolist()}, and LPIPS has {wanted.tolist()}")


def _from_hub(repository: str, file: str, place: str) -> Path:
    """The path of a repository's file in the hub's local cache."""
    from huggingface_hub import hf_hub_download  # slow to import, and seldom needed
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(repository, file or DEFAULT_FILE))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{place} cannot be had: {first}; give a local .safetensors file instead") from None
