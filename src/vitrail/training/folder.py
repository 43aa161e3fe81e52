"""The run folder: claimed by one recipe on one data set, resumed by the same, refused to another."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vitrail import durable, processor
from vitrail.data import made
from vitrail.data.dataset import Dataset
from vitrail.errors import ModelError, UsageError
from vitrail.model.recipe import Recipe
from vitrail.training import status

PACKAGES = ("vitrail", "torch", "numpy", "pydantic", "safetensors", "pillow", "scikit-learn")


@contextlib.contextmanager
def claimed(
    folder: Path, recipe: Recipe, source: str, data: Dataset, origin: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Make the folder this run's own, or find that it already is, and keep other processes out of it inside the block.

    origin: "model" and "fingerprint" of the model that it begins with.
    Raises UsageError where another run is at work in it, or where it holds a run of another recipe, of other data or
    with another beginning, naming what differs, or something else than a run.
    """
    path = folder / "recipe.json"
    if not path.exists() and folder.exists() and any(_foreign(found) for found in folder.iterdir()):
        raise UsageError(f"{folder} is not empty and holds no run; choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}; choose another --out") from None
    with durable.alone(folder):
        where = Path(source).expanduser()
        told: dict[str, Any] = {
            "recipe": recipe.printed(),
            "data": {"source": source, "fingerprint": data.fingerprint, **data.spec.model_dump(mode="json")},
            "from": origin,
        }
        told["data"] |= {"place": made.place(where)} if where.exists() else {}
        if path.exists():
            _compare(folder, _held(path), told)
            if not (folder / "model" / "config.json").exists():
                status.resume(folder)
        else:
            _write(folder, "recipe", told)
        if not (folder / "environment.json").exists():
            _write(folder, "environment", {"started": datetime.now(UTC).isoformat(timespec="seconds"), **environment()})
        yield


def set_aside(folder: Path, *parts: Dataset) -> None:
    """Write quarantine.json: the files that could not be read, with the reason, over all parts of the data."""
    faults = dict.fromkeys(fault for part in parts for fault in part.quarantine)
    _write(folder, "quarantine", [{"path": fault.path, "reason": fault.reason} for fault in faults])


def _write(folder: Path, name: str, content: Any) -> None:
    path = folder / f"{name}.json"
    with durable.storing(path):
        durable.write_file(path, json.dumps(content, indent=1).encode(), through=True)


def environment() -> dict[str, Any]:
    """Versions and machine, as far as they may explain a result."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": processor.cores(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _held(path: Path) -> dict[str, Any]:
    """recipe.json as it was written. Raises ModelError where it is damaged."""
    try:
        held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        held["recipe"], held["data"]["fingerprint"], held["data"]["source"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({type(error).__name__}); choose another --out") from None
    return held


def _foreign(path: Path) -> bool:
    """Whether it is none of what a run that died at its very start may leave."""
    return path.name != ".lock" and not path.name.endswith(durable.BESIDE)


def _compare(folder: Path, held: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    before, now = _flat(held["recipe"]), _flat(told["recipe"])
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if changed:
        shown = ", ".join(f"{key} {before.get(key)!r}, now {now.get(key)!r}" for key in changed[:3])
        raise UsageError(
            f"{folder} holds a run of another recipe ({shown}); choose another --out, or the same settings to resume"
        )
    if held["data"]["fingerprint"] != told["data"]["fingerprint"]:
        raise UsageError(
            f"{folder} holds a run on other data ({held['data']['source']}, or its files changed); choose another --out"
        )
    begun, begins = (tree.get("from") or {"model": None, "fingerprint": None} for tree in (held, told))
    if begun["fingerprint"] != begins["fingerprint"]:
        raise UsageError(
            f"{folder} holds a run that began {_beginning(begun)}, not {_beginning(begins)}; choose another --out"
        )


def _beginning(origin: Mapping[str, Any]) -> str:
    if origin["fingerprint"] is None:
        return "with fresh weights"
    return f"from {origin['model']} (fingerprint {origin['fingerprint']})"


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {path: tree}
    return {
        key: leaf for name, value in tree.items() for key, leaf in _flat(value, f"{path}.{name}".lstrip(".")).items()
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
