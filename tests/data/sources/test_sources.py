"""Contracts of every kind of source, each told apart by looking."""

from __future__ import annotations

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail import catalog
from vitrail.data.config import DataConfig
from vitrail.data.dataset import SOURCES, open_parts, open_source
from vitrail.data.source import Part, Source

KINDS = catalog.names(SOURCES)
CONFIG = DataConfig()


def pictures(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_idx(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    body = head + array.tobytes()
    path.write_bytes(gzip.compress(body) if path.suffix == ".gz" else body)


def idx_folder(folder: Path, gz: str = "") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 60), ("t10k", 20)):
        write_idx(folder / f"{part}-images-idx3-ubyte{gz}", pictures(count, 9, 9))
        write_idx(folder / f"{part}-labels-idx1-ubyte{gz}", (np.arange(count) % 10).astype(np.uint8))
    return str(folder)


def picture_folder(folder: Path) -> str:
    for i, picture in enumerate(pictures(60, 9, 9)):
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / "ab"[i % 2] / f"{i}.png")
    return str(folder)


def npz_file(folder: Path) -> str:
    np.savez(folder / "set.npz", images=pictures(60, 9, 9, 3), labels=np.arange(60) % 4)
    return str(folder / "set.npz")


# What to open for each kind; None where it needs what a test machine has not.
EXAMPLES: dict[str, Callable[[Path], str] | None] = {
    "arrays": npz_file,
    "digits": lambda _: "digits",
    "folder": picture_folder,
    "glyphs": lambda _: "glyphs:72",
    "hub": None,  # see test_hub.py
    "idx": idx_folder,
    "named": None,  # see test_named.py
}
LOCAL = [name for name in KINDS if EXAMPLES[name]]


def example(kind: str, folder: Path) -> str:
    make = EXAMPLES[kind]
    assert make is not None
    return make(folder)


def parts(source: Source) -> list[Part]:
    return [part for part in (source.train, source.test) if part is not None]


def test_every_kind_has_an_example() -> None:
    assert set(KINDS) == set(EXAMPLES), "a new source adds a line to EXAMPLES"


@pytest.mark.parametrize("kind", LOCAL)
def test_exactly_one_kind_accepts(kind: str, tmp_path: Path) -> None:
    text = example(kind, tmp_path)
    assert [name for name in KINDS if catalog.find(SOURCES, name).accepts(text)] == [kind]


@pytest.mark.parametrize("text", ["hf:user/set", "mnist", "cifar10", "Fashion-MNIST", "glyphs", "no/such/place", ""])
def test_names_are_never_ambiguous(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    accepting = [name for name in KINDS if catalog.find(SOURCES, name).accepts(text)]
    assert len(accepting) <= 1 or text == ""


@pytest.mark.parametrize("kind", LOCAL)
def test_parts_are_whole_and_right(kind: str, tmp_path: Path) -> None:
    source = open_source(example(kind, tmp_path), CONFIG)
    for part in parts(source):
        count = len(part)
        assert count > 0
        assert len(set(part.keys)) == count
        assert part.labels.shape == (count,)
        assert part.labels.dtype == np.int64
        assert part.shapes.shape == (count, 3)
        assert -1 <= part.labels.min() <= part.labels.max() < max(1, len(source.classes))
        for i in (0, count // 2, count - 1):
            assert part.read(i).shape == tuple(part.shapes[i])
            assert part.read(i).dtype == np.uint8
            assert np.array_equal(part.read(i), part.read(i))


@pytest.mark.parametrize("kind", LOCAL)
def test_opening_twice_gives_the_same(kind: str, tmp_path: Path) -> None:
    text = example(kind, tmp_path)
    for a, b in zip(parts(open_source(text, CONFIG)), parts(open_source(text, CONFIG)), strict=True):
        assert a.stamp == b.stamp
        assert a.keys == b.keys
        assert np.array_equal(a.labels, b.labels)
        assert np.array_equal(a.read(len(a) - 1), b.read(len(b) - 1))


@pytest.mark.parametrize("kind", LOCAL)
def test_readers_travel_to_processes(kind: str, tmp_path: Path) -> None:
    part = open_source(example(kind, tmp_path), CONFIG).train
    assert np.array_equal(pickle.loads(pickle.dumps(part.read))(3), part.read(3))


@pytest.mark.parametrize("kind", LOCAL)
def test_data_sets_of_every_kind(kind: str, tmp_path: Path) -> None:
    train, heldout = open_parts(example(kind, tmp_path), DataConfig(heldout=0.2, size=12, channels=3))
    assert train.spec.shape == (3, 12, 12)
    assert tuple(train.images([0, 1]).shape) == (2, 3, 12, 12)
    assert len(heldout) > 0
    assert not set(train.keys) & set(heldout.keys) or open_source(example(kind, tmp_path), CONFIG).test is not None
