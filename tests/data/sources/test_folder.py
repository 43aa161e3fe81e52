"""Folders of pictures: what counts, what the subfolders mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_dataset, open_source
from vitrail.data.sources.folder import class_names, listed, part_prefixes
from vitrail.errors import DataError


def put(root: Path, *keys: str) -> str:
    for value, key in enumerate(keys):
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(root / key)
    return str(root)


def test_subfolders_are_classes(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, "dog/1.png", "cat/x/2.png", "cat/3.png", "4.png"), DataConfig())
    assert source.classes == ("cat", "dog")
    assert source.train.keys == ("4.png", "cat/3.png", "cat/x/2.png", "dog/1.png")
    assert source.train.labels.tolist() == [-1, 0, 0, 1]
    assert [int(source.train.read(i)[0, 0, 0]) for i in range(4)] == [3, 2, 1, 0]


def test_no_subfolders_or_a_single_one_are_no_classes(tmp_path: Path) -> None:
    assert open_source(put(tmp_path / "flat", "1.png", "2.png"), DataConfig()).classes == ()
    one = open_source(put(tmp_path / "one", "2021/1.png", "2021/2.png"), DataConfig())
    assert one.classes == ()
    assert one.train.labels.tolist() == [-1, -1]


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_train_and_test_folders_are_parts(tmp_path: Path, test: str) -> None:
    source = open_source(
        put(tmp_path, "train/dog/1.png", "train/cat/2.png", f"{test}/cat/1.png", f"{test}/owl/1.png"), DataConfig()
    )
    assert source.classes == ("cat", "dog", "owl")
    assert source.train.keys == ("train/cat/2.png", "train/dog/1.png")
    assert source.test is not None
    assert source.test.keys == (f"{test}/cat/1.png", f"{test}/owl/1.png")
    assert source.test.labels.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("keys", "prefixes"),
    [
        (["train/a/1.png", "test/a/1.png", "notes/1.png"], ("train/", "test/")),
        (["train/a/1.png", "val/1.png", "test/1.png"], ("train/", "test/")),
        (["train/a/1.png"], ("train/",)),
        (["train/1.png", "bus/1.png", "car/1.png"], ("",)),
        (["test/1.png", "val/1.png"], ("",)),
        (["train/1.png", "1.png"], ("",)),
        (["1.png"], ("",)),
    ],
)
def test_when_folders_are_parts(keys: list[str], prefixes: tuple[str, ...]) -> None:
    assert part_prefixes(keys) == prefixes


def test_class_names_are_sorted() -> None:
    assert class_names(["b/1.png", "a/c/1.png", "z.png"]) == ("a", "b")


def test_only_visible_pictures_count(tmp_path: Path) -> None:
    put(tmp_path, "1.png", "2.JPEG", "a/3.WebP", ".hidden/4.png", ".5.png", "__MACOSX/6.png")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    assert listed(tmp_path)[0] == ["1.png", "2.JPEG", "a/3.WebP"]


def test_linked_folders_are_entered_but_not_in_circles(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "1.png")
    put(tmp_path / "set", "2.png")
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "circle").symlink_to(tmp_path / "set")
    keys, faults = listed(tmp_path / "set")
    assert keys == ["2.png", "linked/1.png"]
    assert [(fault.path, "back to a folder above" in fault.reason) for fault in faults] == [("circle", True)]
    found = open_dataset(str(tmp_path / "set"), DataConfig(), "all")
    assert [fault.path for fault in found.quarantine] == ["circle"]


def test_one_picture_is_a_data_set(tmp_path: Path) -> None:
    put(tmp_path, "only.png", "other.png")
    assert open_dataset(str(tmp_path / "only.png"), DataConfig(), "all").keys == ("only.png",)


def test_photos_of_many_sizes(test_data: object, tmp_path: Path) -> None:
    photos = test_data("photos")  # type: ignore[operator]
    found = open_dataset(str(photos), DataConfig(size=32), "all")
    assert found.spec.classes == ("bsd100", "kodak", "misc", "urban100")
    assert tuple(found.images([0]).shape) == (1, 3, 32, 32)
    assert found.quarantine == ()


RUN = ("recipe.json", "environment.json")
SWEEP = ("sweep.json", "table.md")


def put_text(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("{}")


@pytest.mark.parametrize("place", ["run", "deep/below/run", "train/run", "cat/run"])
@pytest.mark.parametrize("marks", [RUN, ("recipe.json", "status.json"), SWEEP])
def test_a_run_inside_the_data_is_passed_over(
    tmp_path: Path, place: str, marks: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    root = put(tmp_path, "cat/1.png", "cat/2.png", "dog/3.png")
    before = open_source(root, DataConfig())
    put(tmp_path / place, "samples/codec_step_000001.png", "drawn/sample_00000.png", "copies.png")
    put_text(tmp_path / place, *marks)
    with caplog.at_level("INFO", logger="vitrail"):
        for _ in range(2):
            after = open_source(root, DataConfig())
    assert (after.train.keys, after.train.stamp, after.classes) == (
        before.train.keys,
        before.train.stamp,
        ("cat", "dog"),
    )
    assert after.train.quarantine == ()
    assert [record.getMessage().startswith(str(tmp_path / place)) for record in caplog.records] == [True]


def test_a_run_behind_a_link_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "samples/1.png")
    put_text(tmp_path / "elsewhere", *RUN)
    root = put(tmp_path / "data", "1.png")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    assert open_source(root, DataConfig()).train.keys == ("1.png",)


def test_a_recipe_of_somebody_else_makes_no_run(tmp_path: Path) -> None:
    root = put(tmp_path, "soup/1.png", "cake/2.png")
    put_text(tmp_path / "soup", "recipe.json")
    assert open_source(root, DataConfig()).train.keys == ("cake/2.png", "soup/1.png")


@pytest.mark.parametrize("marks", [RUN, SWEEP])
def test_a_run_is_refused_as_data_but_a_folder_in_it_may_be_named(tmp_path: Path, marks: tuple[str, ...]) -> None:
    root = put(tmp_path, "samples/1.png")
    put_text(tmp_path, *marks)
    with pytest.raises(DataError, match="never data; name the folder of your pictures"):
        open_source(root, DataConfig())
    assert open_source(f"{root}/samples", DataConfig()).train.keys == ("1.png",)
