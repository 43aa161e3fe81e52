"""Sets of the hub, through a stand-in for the library, and without it."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_parts, open_source
from vitrail.errors import DataError, UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 6, 8, 3), dtype=np.uint8)


# The feature types are known by their names, as in the library.
Image_ = type("Image", (), {})
ClassLabel = type("ClassLabel", (SimpleNamespace,), {})


class Table:
    """As much of a table as the source asks for."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.features = {"id": object(), "photo": Image_(), "kind": ClassLabel(names=["cat", "dog"])}

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: Any) -> Any:
        if key == "kind":
            return [i % 2 for i in range(len(self))]
        return {"id": key, "photo": Image.fromarray(self.pixels[key]), "kind": key % 2}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("datasets")
    module.load_dataset = lambda name, config: {"train": Table(PIXELS), "validation": Table(PIXELS[:5])}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_splits_labels_and_pixels(hub: ModuleType) -> None:
    source = open_source("hf:user/pets:small", DataConfig())
    assert source.classes == ("cat", "dog")
    assert source.test is not None
    assert (len(source.train), len(source.test)) == (30, 5)
    assert source.train.labels[:4].tolist() == [0, 1, 0, 1]
    train, _ = open_parts("hf:user/pets", DataConfig())
    assert train.spec.shape == (3, 6, 8)
    assert np.array_equal(train.images([3])[0].permute(1, 2, 0).numpy(), PIXELS[3])


def test_name_and_configuration_reach_the_library(hub: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, configuration: str | None) -> dict[str, Table]:
        asked.append((name, configuration))
        return {"test": Table(PIXELS)}

    monkeypatch.setattr(hub, "load_dataset", load)
    for text in ("hf:user/pets:small", "hf:pets"):
        with pytest.raises(DataError, match="has no split 'train'"):
            open_source(text, DataConfig())
    assert asked == [("user/pets", "small"), ("pets", None)]


def test_failures_are_one_line(hub: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, configuration: str | None) -> None:
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(hub, "load_dataset", fail)
    with pytest.raises(DataError, match="hf:pets: no network at all"):
        open_source("hf:pets", DataConfig())
    table = Table(PIXELS)
    del table.features["photo"]
    monkeypatch.setattr(hub, "load_dataset", lambda *_: {"train": table})
    with pytest.raises(DataError, match=r"no column of pictures \(there is: id, kind\)"):
        open_source("hf:pets", DataConfig())


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'vitrail\[hub\]'"):
        open_source("hf:user/pets", DataConfig())


def test_captions_are_a_column_named_like_a_text(hub: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Captioned(Table):
        def __init__(self) -> None:
            super().__init__(PIXELS)
            self.features["caption"] = object()

        def __getitem__(self, key: Any) -> Any:
            return [["one", "two"], "three", None] * 10 if key == "caption" else super().__getitem__(key)

    monkeypatch.setattr(hub, "load_dataset", lambda *_: {"train": Captioned(), "test": Table(PIXELS[:5])})
    source = open_source("hf:pets", DataConfig(captions=9))
    assert source.train.captions[:3] == ("one", "three", "")
    assert source.test is not None
    assert source.test.captions == ("",) * 5
    assert open_source("hf:pets", DataConfig()).train.captions == ()
