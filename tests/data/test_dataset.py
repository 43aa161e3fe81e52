"""Opening data: which source, which shape, what is kept in memory, and what a fingerprint notices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.data.config import DataConfig
from vitrail.data.dataset import chosen_shape, open_dataset, open_parts
from vitrail.errors import DataError


def shapes(*sizes: tuple[int, int, int]) -> np.ndarray:
    return np.array(sizes, dtype=np.int64)


def fill(folder: Path, count: int = 40, side: int = 8) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(folder / f"{i:04d}.png")
    return folder


@pytest.mark.parametrize(
    ("found", "config", "shape"),
    [
        (shapes((28, 28, 1)), DataConfig(), (1, 28, 28)),
        (shapes((28, 20, 3)), DataConfig(), (3, 28, 20)),
        (shapes((28, 20, 3)), DataConfig(size=16), (3, 16, 16)),
        (shapes((28, 28, 1)), DataConfig(channels=3), (3, 28, 28)),
        (shapes((28, 28, 1), (28, 28, 3)), DataConfig(), (3, 28, 28)),
        (shapes((3000, 4000, 3), (3000, 4000, 3)), DataConfig(), (3, 128, 128)),
        (shapes((70, 90, 3), (100, 80, 3), (9, 9, 3)), DataConfig(), (3, 64, 64)),
        (shapes((64, 65, 3), (65, 64, 3)), DataConfig(), (3, 64, 64)),
    ],
)
def test_the_shape_follows_the_pictures_unless_it_is_given(
    found: np.ndarray, config: DataConfig, shape: tuple[int, int, int]
) -> None:
    assert chosen_shape(found, config) == shape


def test_memory_or_not_is_the_same_data(tmp_path: Path) -> None:
    folder = str(fill(tmp_path))
    kept, read = (open_dataset(folder, DataConfig(size=6, memory=memory), "all") for memory in (1, 1e-9))
    assert kept.pixels is not None
    assert read.pixels is None
    index = [3, 0, 39, 3]
    assert torch.equal(kept.images(index), read.images(torch.tensor(index)))
    assert kept.keys == read.keys
    assert kept.fingerprint == read.fingerprint


def test_parts_share_one_spec_and_all_is_both(tmp_path: Path) -> None:
    text = str(fill(tmp_path))
    train, heldout = open_parts(text, DataConfig(heldout=0.3))
    assert train.spec == heldout.spec
    assert train.spec.shape == (1, 8, 8)
    assert sorted(train.keys + heldout.keys) == list(open_dataset(text, DataConfig(), "all").keys)
    assert open_dataset(text, DataConfig(heldout=0.3), "heldout").keys == heldout.keys
    assert train.fingerprint != heldout.fingerprint
    assert train.labels.tolist() == [-1] * len(train)


def test_the_models_shape_wins(tmp_path: Path) -> None:
    found = open_dataset(str(fill(tmp_path)), DataConfig(size=4), "all", shape=(3, 10, 12))
    assert tuple(found.images([0, 1]).shape) == (2, 3, 10, 12)


def test_the_fingerprint_notices_changes_and_forgets_the_place(tmp_path: Path) -> None:
    def fingerprint(folder: Path, config: DataConfig | None = None) -> str:
        return open_dataset(str(folder), config or DataConfig(), "all").fingerprint

    first = fingerprint(fill(tmp_path / "a"))
    assert fingerprint(fill(tmp_path / "b")) == first
    assert fingerprint(tmp_path / "a", DataConfig(size=4)) != first
    (tmp_path / "b" / "0003.png").rename(tmp_path / "b" / "9999.png")
    assert fingerprint(tmp_path / "b") != first
    Image.new("L", (8, 8)).save(tmp_path / "a" / "0003.png")
    assert fingerprint(tmp_path / "a") != first


def test_progress_reaches_its_total(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    open_dataset(
        str(fill(tmp_path, 150)), DataConfig(), "all", progress=lambda done, total: calls.append((done, total))
    )
    assert calls[-1] == (150, 150)
    assert len(calls) > 3


@pytest.mark.parametrize("part", ["train", "heldout", "all"])
def test_empty_and_missing_places_are_one_helpful_line(tmp_path: Path, part: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="no picture in this folder"):
        open_dataset(str(tmp_path), DataConfig(), part)
    with pytest.raises(DataError, match="no such file, folder or named set"):
        open_dataset(str(tmp_path / "missing"), DataConfig(), part)
    with pytest.raises(DataError, match="no data was named"):
        open_dataset(" ", DataConfig(), part)
    with pytest.raises(DataError, match="did you mean 'digits'"):
        open_dataset("digit", DataConfig(), part)
    assert DataError.exit_code == 3


def test_a_folder_of_nothing_readable_names_the_first(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_text("no picture")
    with pytest.raises(DataError, match=r"none of 2 pictures can be read; the first: a\.png: not a picture"):
        open_parts(str(tmp_path), DataConfig())
    for path in fill(tmp_path / "cut", 3).iterdir():
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"cut: none of 3 pictures can be read; the first: 0000\.png: damaged"):
        open_dataset(str(tmp_path / "cut"), DataConfig(), "all")


def test_images_names_the_file_that_went_bad(tmp_path: Path) -> None:
    found = open_dataset(str(fill(tmp_path)), DataConfig(memory=1e-9), "all")
    (tmp_path / "0002.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"0002\.png: empty file"):
        found.images([1, 2])
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="none of the 40 samples"):
        found.readable(np.array([0]))
