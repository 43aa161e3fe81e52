"""Arrays in any layout and type, sheets, and files that are neither."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_dataset, open_source
from vitrail.data.sources.arrays import pictures
from vitrail.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 7), dtype=np.uint8)
RGB = RNG.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("array", "known"),
    [
        (GREY, GREY[..., None]),
        (RGB, RGB),
        (RGB.transpose(0, 3, 1, 2), RGB),
        (GREY[:, None], GREY[..., None]),
        (GREY.astype(np.int64), GREY[..., None]),
        (GREY.astype(np.uint16) * 257, GREY[..., None]),
        (GREY / 255, GREY[..., None]),
        ((GREY / 255).astype(np.float32), GREY[..., None]),
        (GREY > 99, np.where(GREY > 99, 255, 0)[..., None]),
    ],
)
def test_layouts_and_types(array: np.ndarray, known: np.ndarray) -> None:
    found = pictures(array)
    assert found.dtype == np.uint8
    assert np.array_equal(found, known)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (GREY.astype(float), "values run from .* wanted 0 to 1"),
        (GREY.astype(np.int64) - 5, "wanted 0 to 255"),
        (np.full((2, 3, 3), np.nan), "wanted 0 to 1"),
        (np.zeros((2, 3)), "holds no pictures"),
        (np.zeros((2, 4, 4, 5)), "holds no pictures"),
        (np.zeros((0, 4, 4)), "holds no pictures"),
        (np.zeros((2, 3, 3), dtype=complex), "holds no pictures"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray, words: str) -> None:
    np.savez(tmp_path / "a.npz", images=array)
    with pytest.raises(DataError, match=words):
        open_source(str(tmp_path / "a.npz"), DataConfig())


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("x_train", "y_train"), ("arr_0", "label")])
def test_usual_names_in_an_npz(tmp_path: Path, names: tuple[str, str]) -> None:
    np.savez(tmp_path / "a.npz", **{names[0]: RGB, names[1]: np.arange(6) % 3})
    source = open_source(str(tmp_path / "a.npz"), DataConfig())
    assert np.array_equal(source.train.read(4), RGB[4])
    assert source.train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert source.classes == ("0", "1", "2")
    assert source.test is None


def test_test_part_classes_and_ids(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", x_train=RGB, y_train=[0, 1] * 3, x_test=RGB[:2], y_test=[1, 0],
        classes=["cat", "dog"], ids=np.array([f"p{i}" for i in range(6)], dtype="S"),
    )  # fmt: skip
    source = open_source(str(tmp_path / "a.npz"), DataConfig())
    assert source.classes == ("cat", "dog")
    assert source.train.keys == tuple(f"p{i}" for i in range(6))
    assert source.test is not None
    assert source.test.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pixels": RGB}, r"it holds pixels \(6, 5, 7, 3\)"),
        ({}, "it holds nothing"),
        ({"images": RGB, "labels": np.arange(5)}, "wanted 6 whole numbers"),
        ({"images": RGB, "labels": np.full(6, 0.5)}, "wanted 6 whole numbers"),
        ({"images": RGB, "labels": np.arange(6), "classes": ["a"]}, "`classes` has 1 names"),
        ({"images": RGB, "labels": np.full(6, 10**9)}, "labels run from"),
        ({"images": np.array([RGB, None], dtype=object)}, "damaged or not plain arrays"),
        ({"sheet000": np.zeros(9, np.uint8), "shape": np.array([2, 4, 4, 3])}, "damaged or not plain arrays"),
        ({"sheet000": np.zeros(9, np.uint8)}, "damaged or not plain arrays"),
    ],
)
def test_unusable_files_are_one_line(tmp_path: Path, fields: dict[str, np.ndarray], words: str) -> None:
    np.savez(tmp_path / "a.npz", **fields)
    with pytest.raises(DataError, match=words) as refusal:
        open_source(str(tmp_path / "a.npz"), DataConfig())
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["a.npz", "a.npy"])
@pytest.mark.parametrize("body", [b"", b"not an array", b"PK\x03\x04 cut off"])
def test_damaged_files_are_one_line(tmp_path: Path, name: str, body: bytes) -> None:
    (tmp_path / name).write_bytes(body)
    with pytest.raises(DataError, match=name):
        open_source(str(tmp_path / name), DataConfig())


def test_npy_stays_on_disk_until_it_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RGB.transpose(0, 3, 1, 2))
    part = open_source(str(tmp_path / "a.npy"), DataConfig()).train
    assert np.array_equal(part.read(3), RGB[3])
    found = open_dataset(str(tmp_path / "a.npy"), DataConfig(memory=1e-9), "all")
    assert np.array_equal(found.images([2])[0].permute(1, 2, 0).numpy(), RGB[2])


def sheet(array: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(array.reshape(-1, *array.shape[2:])).save(file, "WEBP", lossless=True)
    return np.frombuffer(file.getvalue(), np.uint8)


def test_sheets(tmp_path: Path) -> None:
    held = {"sheet000": sheet(RGB[:4]), "sheet001": sheet(RGB[4:]), "labels": np.arange(6) % 2}
    np.savez(tmp_path / "a.npz", shape=RGB.shape, **held)
    source = open_source(str(tmp_path / "a.npz"), DataConfig())
    assert np.array_equal(np.stack([source.train.read(i) for i in range(6)]), RGB)
    np.savez(tmp_path / "b.npz", shape=(7, 5, 7, 3), **held)
    with pytest.raises(DataError, match="its sheets hold pictures of shape"):
        open_source(str(tmp_path / "b.npz"), DataConfig())


def test_real_sheets(test_data: Callable[[str], Path]) -> None:
    source = open_source(str(test_data("hands64_1800_webp.npz")), DataConfig())
    assert len(source.train) == 1800
    assert len(source.classes) == 10
    assert source.train.read(0).shape == (64, 64, 3)


def test_an_npz_named_npy_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=RGB)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"name it \.npz"):
        open_source(str(tmp_path / "a.npy"), DataConfig())


def test_a_file_of_something_else_is_not_advised_to_be_unpickled(tmp_path: Path) -> None:
    (tmp_path / "junk.npz").write_bytes(b"junk")
    with pytest.raises(DataError, match="damaged or not plain arrays") as refused:
        open_source(str(tmp_path / "junk.npz"), DataConfig())
    assert "pickle.load" not in str(refused.value)


def test_captions_are_an_array_of_strings(tmp_path: Path) -> None:
    path, read = tmp_path / "a.npz", DataConfig(captions=9)
    texts = np.array(["a", "bé", "", "d", "e", "f"])
    np.savez(path, images=GREY, captions=texts, test_images=GREY[:2])
    source = open_source(str(path), read)
    assert source.test is not None
    assert (source.train.captions, source.test.captions) == (tuple(texts.tolist()), ("", ""))
    assert open_source(str(path), DataConfig()).train.captions == ()
    np.savez(path, images=GREY, captions=np.char.encode(texts, "utf-8"), test_images=GREY[:2], test_captions=texts[:2])
    source = open_source(str(path), read)
    assert source.test is not None
    assert (source.train.captions, source.test.captions) == (tuple(texts.tolist()), ("a", "bé"))


@pytest.mark.parametrize("texts", [np.array(["a"]), np.arange(6), np.array([["a"]] * 6)])
def test_other_captions_are_refused(tmp_path: Path, texts: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", images=GREY, captions=texts)
    with pytest.raises(DataError, match=r"captions are .* wanted 6 strings, one a picture"):
        open_source(str(tmp_path / "a.npz"), DataConfig(captions=9))
