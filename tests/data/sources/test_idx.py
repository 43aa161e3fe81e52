"""MNIST-style files: read right, and damaged ones refused before memory is spent."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_source
from vitrail.data.sources import idx
from vitrail.errors import DataError

PICTURES = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)


def idx_bytes(array: np.ndarray, *shape: int) -> bytes:
    shape = shape or array.shape
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + array.tobytes()


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images.idx3-ubyte", "train-images-idx3-ubyte.gz"])
def test_any_usual_name_is_found(tmp_path: Path, name: str) -> None:
    body = idx_bytes(PICTURES)
    (tmp_path / name).write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
    assert idx.accepts(str(tmp_path))
    source = open_source(str(tmp_path), DataConfig())
    assert source.test is None
    assert source.classes == ()
    assert np.array_equal(np.stack([source.train.read(i) for i in range(5)])[..., 0], PICTURES)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not an idx file"),
        (b"hello world, hello", "not an idx file"),
        (idx_bytes(PICTURES)[:-1], "its header promises 60 bytes, it has 59"),
        (idx_bytes(PICTURES) + b"x", "its header promises 60 bytes, it has more"),
        (idx_bytes(PICTURES, 2**32 - 1, 2**32 - 1, 28), "its header promises an array of"),
        (idx_bytes(PICTURES, 60_000, 800, 800), "its header promises 38400000000 bytes, it has 60"),
        (idx_bytes(PICTURES, 0, 28, 28), "its header promises an array of"),
        (idx_bytes(PICTURES)[:9], "cut off in its header"),
        (idx_bytes(PICTURES.reshape(-1)), "holds 1 axes"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, body: bytes, reason: str) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(body)
    with pytest.raises(DataError, match=f"train-images-idx3-ubyte: {reason}"):
        open_source(str(tmp_path), DataConfig())


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(PICTURES))[:-20])
    with pytest.raises(DataError, match=r"ubyte\.gz"):
        open_source(str(tmp_path), DataConfig())


def test_labels_must_match(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(PICTURES))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(4, np.uint8)))
    with pytest.raises(DataError, match="labels for 5 pictures"):
        open_source(str(tmp_path), DataConfig())


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_sets(name: str, test_data: Callable[[str], Path]) -> None:
    source = open_source(str(test_data(name)), DataConfig())
    assert source.test is not None
    assert (len(source.train), len(source.test)) == (60_000, 10_000)
    assert len(source.classes) == 10
    assert np.bincount(source.test.labels).min() > 800
