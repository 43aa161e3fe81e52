"""A model on disk: config.json, codec.safetensors, prior.safetensors and a model card; never a pickle.

What a folder claims is checked against what its own recipe builds - names, shapes, types, sizes - before anything is allocated.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from vitrail import durable
from vitrail.errors import ModelError, UsageError
from vitrail.model.build import build_codec, build_prior
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe, parse
from vitrail.types import DataSpec

FORMAT = 1
LARGEST_JSON = 64 << 20  # bytes; a longer config or header is an attack or an accident
DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F64": torch.float64,
    "I64": torch.int64,
    "BOOL": torch.bool,
}


def save(model: Model, path: Path, card: str = "") -> str:
    """Write a model folder, each file replaced at once, config.json last; returns the fingerprint."""
    path.mkdir(parents=True, exist_ok=True)
    files = {"codec.safetensors": _tensors(model.codec)}
    if model.prior is not None:
        files["prior.safetensors"] = _tensors(model.prior)
    contents = {name: safetensors.torch.save(tensors) for name, tensors in files.items()}
    config = {"format": FORMAT, "recipe": model.recipe.printed(), "spec": model.spec.model_dump(mode="json")}
    config["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    model.fingerprint = fingerprint(config)
    for name, content in {**contents, "README.md": card.encode()}.items():
        durable.write_file(path / name, content, through=True)
    told = json.dumps({**config, "fingerprint": model.fingerprint}, indent=2)
    durable.write_file(path / "config.json", told.encode(), through=True)
    return model.fingerprint


def load(path: Path) -> Model:
    """The model in a model folder, or in the run folder that holds one. Raises ModelError on anything that is not right."""
    folder = _find(path)
    config = _config(folder)
    recipe, spec = config["recipe"], config["spec"]
    try:
        with torch.device("meta"):
            codec = build_codec(recipe, spec)
            prior = build_prior(recipe, spec, codec)
        parts: dict[str, nn.Module] = {"codec": codec}
        if "prior.safetensors" in config["files"]:
            if prior is None:
                raise ModelError(f"{folder}: holds prior.safetensors, but its recipe has no prior")
            parts["prior"] = prior
        for name, part in parts.items():
            _check_header(folder / f"{name}.safetensors", _tensors(part))
        model = Model.build(recipe, spec)
    except ModelError:
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise ModelError(f"{folder}: its recipe cannot be built: {_line(error)}") from None
    held = model.prior if "prior" in parts else None
    for name, module in (("codec", model.codec), ("prior", held)):
        if module is not None:
            _fill(module, folder / f"{name}.safetensors", config["files"][f"{name}.safetensors"])
    return Model(recipe, spec, model.codec, held, config["fingerprint"])


def recipe_of(path: Path) -> Recipe:
    """The recipe of the model in a folder, without its weights. Raises ModelError as `load` does."""
    recipe: Recipe = _config(_find(path))["recipe"]
    return recipe


def fingerprint(config: Mapping[str, Any]) -> str:
    """64 bits of the SHA-256 of recipe, data spec and weights: equal for equal models, on every machine."""
    told = {key: config[key] for key in ("format", "recipe", "spec", "files")}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _find(path: Path) -> Path:
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return folder
    if not path.exists():
        raise ModelError(f"no model at '{path}': there is no such folder")
    raise ModelError(f"no model in '{path}': {_why_none(path)}")


def _why_none(path: Path) -> str:
    """Why a folder holds no model, and what to do."""
    if not (path / "recipe.json").exists():
        return "config.json is missing"
    with contextlib.suppress(OSError):  # a lock that may not be opened tells nothing
        if durable.occupied(path):
            return "a process is training it at the moment; wait until it has finished"
    return "training has not finished; run the same `vitrail train` command again"


def _config(folder: Path) -> dict[str, Any]:
    """config.json, validated: recipe and spec become their types."""
    where = folder / "config.json"
    try:
        if where.stat().st_size > LARGEST_JSON:
            raise ModelError(f"{where}: larger than {LARGEST_JSON >> 20} MiB, refused")
        config = json.loads(where.read_text(encoding="utf-8"))
        version = config["format"]
        if not isinstance(version, int) or not 1 <= version <= FORMAT:
            raise ModelError(
                f"{where}: format {version!r} is not one this vitrail reads (1 to {FORMAT}); a newer one wants a newer vitrail"
            )
        files = {str(name): str(digest) for name, digest in config["files"].items()}
        if "codec.safetensors" not in files or not set(files) <= {"codec.safetensors", "prior.safetensors"}:
            raise ModelError(
                f"{where}: names files {sorted(files)}, wanted codec.safetensors and perhaps prior.safetensors"
            )
        if fingerprint(config) != config["fingerprint"]:
            raise ModelError(f"{where}: contents do not match the fingerprint; the file was changed after saving")
        recipe, spec = parse(config["recipe"]), DataSpec.model_validate(config["spec"])
    except ModelError:
        raise
    except (UsageError, ValidationError) as error:
        raise ModelError(f"{where}: {_line(error)}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{where}: unreadable ({type(error).__name__}: {_line(error)})") from None
    return {"recipe": recipe, "spec": spec, "files": files, "fingerprint": config["fingerprint"]}


def _check_header(path: Path, wanted: Mapping[str, Tensor]) -> None:
    """Compare the header of a safetensors file with the tensors it should hold; reads the header only."""
    header = _header(path)
    for name in sorted(header.keys() ^ wanted.keys()):
        raise ModelError(f"{path}: tensor '{name}' is {'unexpected' if name in header else 'missing'}")
    for name, tensor in wanted.items():
        entry = header[name]
        shape, dtype = entry.get("shape"), DTYPES.get(str(entry.get("dtype")))
        if shape != list(tensor.shape) or dtype != tensor.dtype:
            raise ModelError(
                f"{path}: tensor '{name}' is {entry.get('dtype')} {shape}, wanted {tensor.dtype} {list(tensor.shape)}"
            )


def _header(path: Path) -> dict[str, dict[str, Any]]:
    """Format: 8 bytes length n, little endian; n bytes JSON; data."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(LARGEST_JSON, size - 8):
                raise ModelError(f"{path}: header claims {length} bytes, the file has {size}; refused")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        expected = 8 + length + max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except ModelError:
        raise
    except (
        OSError,
        struct.error,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ModelError(f"{path}: unreadable ({type(error).__name__}: {_line(error)})") from None
    if expected != size:
        raise ModelError(f"{path}: is {size} bytes long, its header says {expected}; truncated or tampered with")
    return header


def _fill(module: nn.Module, path: Path, digest: str) -> None:
    """Put the tensors of a checked file into the module."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(f"{path}: its contents do not match the checksum in config.json")
    try:
        module.load_state_dict(safetensors.torch.load(content), strict=True)
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path}: {error}") from None


def _line(error: Exception) -> str:
    """All mistakes in a recipe on one line; of anything else the first line, since torch adds its own stack."""
    lines = str(error).splitlines() or [""]
    return "; ".join(lines) if isinstance(error, UsageError | ValidationError) else lines[0]


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: tensor.detach().cpu().contiguous() if tensor.device.type != "meta" else tensor
        for name, tensor in module.state_dict().items()
    }
