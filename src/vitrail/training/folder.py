"""The run folder: claimed by one recipe on one data set, resumed by the same, refused to another."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vitrail.data.dataset import Dataset
from vitrail.errors import UsageError
from vitrail.model.recipe import Recipe
from vitrail.training import durable

PACKAGES = ("vitrail", "torch", "numpy", "pydantic", "safetensors", "pillow", "scikit-learn")


def claim(folder: Path, recipe: Recipe, source: str, data: Dataset) -> None:
    """Make the folder this run's own, or find that it already is.

    Raises UsageError where it holds a run of another recipe or of other data, naming what differs.
    """
    told = {
        "recipe": recipe.printed(),
        "data": {"source": source, "fingerprint": data.fingerprint, **data.spec.model_dump(mode="json")},
    }
    path = folder / "recipe.json"
    if path.exists():
        _compare(folder, json.loads(path.read_text()), told)
        return
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty and holds no run; choose another --out")
    with durable.storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        durable.write_file(folder / "environment.json", json.dumps(environment(), indent=1).encode())
        durable.write_file(path, json.dumps(told, indent=1).encode(), through=True)


def environment() -> dict[str, Any]:
    """Versions and machine, as far as they may explain a result."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _compare(folder: Path, held: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    before, now = _flat(held["recipe"]), _flat(told["recipe"])
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if changed:
        shown = ", ".join(f"{key} {before.get(key)!r}, now {now.get(key)!r}" for key in changed[:3])
        raise UsageError(f"{folder} holds a run of another recipe ({shown}); choose another --out, or the same settings to resume")
    if held["data"]["fingerprint"] != told["data"]["fingerprint"]:
        raise UsageError(f"{folder} holds a run on other data ({held['data']['source']}, or its files changed); choose another --out")


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {path: tree}
    return {key: leaf for name, value in tree.items() for key, leaf in _flat(value, f"{path}.{name}".lstrip(".")).items()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
