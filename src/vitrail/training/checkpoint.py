"""Checkpoints: folders that appear complete or not at all, are checked before use, and hold no pickle.

`codec_step_000300/` has one safetensors file per part and `state.json` with the numbers and the checksum of every file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from vitrail import durable
from vitrail.errors import ModelError

FORMAT = 1
KEPT = 2  # checkpoints per stage
STATE = "state.json"

Parts = Mapping[str, Mapping[str, Tensor]]  # tensors by part and name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """A checkpoint, read and checked."""

    path: Path
    state: dict[str, Any]
    parts: dict[str, dict[str, Tensor]]


def write(folder: Path, stage: str, step: int, state: Mapping[str, Any], parts: Parts) -> None:
    """Write a checkpoint, then remove all but the newest. Raises Interrupted on a full disk; older ones then stand."""
    path = folder / f"{stage}_step_{step:06d}"
    files = {f"{name}.safetensors": _packed(tensors) for name, tensors in parts.items()}
    document = {"format": FORMAT, "state": state, "files": {name: _digest(content) for name, content in files.items()}}
    document["digest"] = _digest(_text(document))
    with durable.storing(path):
        durable.write_folder(path, {**files, STATE: _text(document)})
        paths = _paths(folder, stage)  # newest first; what is newer than this one is damaged, or of a time given up
        for needless in {*paths[: paths.index(path)], *paths[paths.index(path) + KEPT :]}:
            durable.remove_folder(needless)


def newest(folder: Path, stage: str) -> Saved | None:
    """The newest checkpoint that is undamaged; every damaged one before it is named in a warning.

    Raises ModelError on one of another format.
    """
    for path in _paths(folder, stage):
        try:
            return _read(path)
        except ModelError:
            raise
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            logger.warning("checkpoint %s is damaged and left out: %s", path, error)
    return None


def prepare(folder: Path, stage: str) -> None:
    """Make the folder, or remove what an interrupted write left behind in it. Raises Interrupted on a full disk."""
    with durable.storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    durable.remove_unfinished(folder, f"{stage}_step_")


def drop_newest(folder: Path, stage: str) -> None:
    """Remove the newest checkpoint, unless it is the only one."""
    if len(paths := _paths(folder, stage)) > 1:
        durable.remove_folder(paths[0])


def _read(path: Path) -> Saved:
    """Read and check one checkpoint. Raises ValueError and the like with what is wrong."""
    document = json.loads((path / STATE).read_bytes())
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise ValueError(f"{STATE} is not that of a checkpoint")
    if document["format"] != FORMAT:
        raise ModelError(f"{path} has format {document['format']}, this vitrail reads {FORMAT}; update it, then resume")
    if document.pop("digest") != _digest(_text(document)):
        raise ValueError(f"{STATE} does not match its checksum")
    parts = {}
    for name, digest in document["files"].items():
        content = (path / name).read_bytes()
        if _digest(content) != digest:
            raise ValueError(f"{name} does not match its checksum")
        parts[name.removesuffix(".safetensors")] = safetensors.torch.load(content)
    return Saved(path, document["state"], parts)


def _paths(folder: Path, stage: str) -> list[Path]:
    """Checkpoints of a stage, newest first."""
    return [path for _, path in sorted(_numbered(folder, stage), reverse=True)]


def _numbered(folder: Path, stage: str) -> Iterator[tuple[int, Path]]:
    for path in folder.glob(f"{stage}_step_*"):
        number = path.name.removeprefix(f"{stage}_step_")
        if number.isdecimal():
            yield int(number), path


def _packed(tensors: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def _text(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, indent=1).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
