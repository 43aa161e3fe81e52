"""What a format file is given: the tensors of a checkpoint, by the names in the file, and the settings beside it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vitrail.errors import ModelError, UsageError
from vitrail.interop.checkpoint import SUFFIXES, convert

USUAL = ("diffusion_pytorch_model", "model", "pytorch_model")  # stems that libraries give the weights in a folder
FIRST_STAGES = ("vae", "vqvae", "vqmodel")  # folders of the autoencoder in that of a whole pipeline
LARGEST = 1 << 20  # bytes of a settings file


@dataclass(frozen=True)
class Foreign:
    """A checkpoint of another library, read."""

    path: Path  # what the user named
    tensors: dict[str, Tensor]  # flat, by the name in the file; wrappers such as ["state_dict"] are already opened
    settings: dict[str, Any]  # the config.json or .yaml that lay beside it; {} where there was none


class Tree(yaml.SafeLoader):
    """YAML without aliases: a few lines of them stand for gigabytes, as soon as these are merged, compared or printed."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases")
        return super().compose_node(parent, index)


def opened(path: Path, ema: bool = False) -> Foreign:
    """Read a checkpoint: a .safetensors file, a pickled one (in a child process), or the folder of one.

    ema: the running averages of the weights, where a pickled file has them.   Raises UsageError for a path that names no
    checkpoint, ModelError for one that cannot be read.
    """
    file = _weights_in(path) if path.is_dir() else path
    if file.suffix not in (".safetensors", *SUFFIXES):
        raise UsageError(
            f"{file}: no checkpoint; wants a folder or a file that ends in .safetensors, {', '.join(SUFFIXES)}"
        )
    if not file.is_file():
        raise ModelError(f"no checkpoint at {file}")
    return Foreign(path, _tensors(file, ema), _settings(file))


def _tensors(file: Path, ema: bool) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        if ema:
            raise UsageError(f"{file}: running averages are looked for in pickled checkpoints only; leave out --ema")
        return _read(file, file)
    with tempfile.TemporaryDirectory() as folder:
        converted = Path(folder) / "weights.safetensors"
        convert(file, converted, ema)
        return _read(converted, file)


def _read(file: Path, named: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{named} cannot be read: {error}") from None


def _weights_in(folder: Path) -> Path:
    """The one file of weights in a folder; of several the usual one, and .safetensors before pickled ones."""
    for suffixes in ((".safetensors",), SUFFIXES):
        found = sorted(each for each in folder.iterdir() if each.suffix in suffixes and each.is_file())
        usual = [each for stem in USUAL for each in found if each.stem == stem]
        if usual or len(found) == 1:
            return (usual or found)[0]
        if found:
            raise UsageError(f"{folder}: holds {len(found)} checkpoints; name one, such as {found[0]}")
    inner = [each for name in FIRST_STAGES if (each := folder / name).is_dir()]
    if len(inner) == 1:
        return _weights_in(inner[0])
    raise UsageError(
        f"{folder}: no checkpoint in this folder; wants one that ends in .safetensors, {', '.join(SUFFIXES)}"
    )


def _settings(file: Path) -> dict[str, Any]:
    """What a .json or .yaml of the same name says, or one that is called config."""
    names = [f"{stem}{end}" for stem in (file.stem, "config", "model") for end in (".json", ".yaml", ".yml")]
    beside = next((each for name in names if (each := file.with_name(name)).is_file()), None)
    if beside is None:
        return {}
    if beside.stat().st_size > LARGEST:
        raise ModelError(f"{beside}: larger than {LARGEST >> 20} MiB, no settings of a checkpoint")
    try:
        text = beside.read_text(encoding="utf-8")
        read = json.loads(text) if beside.suffix == ".json" else yaml.load(text, Tree)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ModelError(
            f"{beside} cannot be read ({type(error).__name__}); move it away to import without it"
        ) from None
    return read if isinstance(read, dict) else {}
