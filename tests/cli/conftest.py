"""A tiny untrained model on disk, pictures to give it, and a command line that runs in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail import catalog
from vitrail.cli import run
from vitrail.model import folder
from vitrail.model.model import Model
from vitrail.types import DataSpec


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        return json.loads(self.out)


Vitrail = Callable[..., Ran]


@pytest.fixture
def vitrail(capsys: pytest.CaptureFixture[str]) -> Vitrail:
    def call(*words: Any) -> Ran:
        capsys.readouterr()
        code = run([str(word) for word in words])
        return Ran(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a VQ-VAE with a transformer prior for grey pictures of 8 x 8 in two classes."""
    recipe = catalog.find("recipes", "vqvae").recipe()
    small = {
        "bottleneck__size": 16,
        "bottleneck__channels": 4,
        "prior__width": 16,
        "prior__depth": 1,
        "prior__heads": 2,
    }
    spec = DataSpec(shape=(1, 8, 8), classes=("Sandal", "Shirt"))
    path = tmp_path_factory.mktemp("models") / "tiny"
    folder.save(Model.build(recipe.vary(network__widths=(8, 16), **small), spec), path)
    return path


@pytest.fixture(scope="session")
def conditional(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the same, but its prior wants a blurred picture to start from."""
    plain = folder.load(model)
    path = tmp_path_factory.mktemp("models") / "conditional"
    folder.save(Model.build(plain.recipe.vary(condition="blur"), plain.spec), path)
    return path


@pytest.fixture(scope="session")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a dense VAE, which takes pictures of 8 x 8 only and has no codes."""
    path = tmp_path_factory.mktemp("models") / "dense"
    folder.save(Model.build(catalog.find("recipes", "vae-dense").recipe(), DataSpec(shape=(1, 8, 8))), path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of four pictures of two sizes, two of them with one name, and a file that is none."""
    noise = np.random.default_rng(0)
    for name, size in {"a.png": (8, 8), "b/c.jpg": (8, 8), "b/c.bmp": (12, 9), "d.png": (8, 8)}.items():
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    (tmp_path / "pictures" / "text.png").write_text("no picture")
    return tmp_path / "pictures"
