"""Captions: where they are found, how they become tokens, and what a data set makes of them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.data.captions import beside, tokens
from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_dataset, open_parts
from vitrail.data.loader import Loader, in_order
from vitrail.errors import DataError
from vitrail.types import NO_BYTE

READ = DataConfig(captions=8, workers=0)


def put(root: Path, *keys: str) -> list[str]:
    for value, key in enumerate(keys):
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), value, np.uint8)).save(root / key)
    return list(keys)


def said(row: torch.Tensor) -> str:
    return bytes(row[row != NO_BYTE].tolist()).decode()


def test_tokens_are_bytes_with_nothing_behind_them() -> None:
    found = tokens(["ab", "", "äb"], 5)
    assert found.dtype == torch.int64
    assert found.tolist() == [[97, 98, *[NO_BYTE] * 3], [NO_BYTE] * 5, [0xC3, 0xA4, 98, *[NO_BYTE] * 2]]


@pytest.mark.parametrize(
    ("text", "length", "kept"),
    [
        ("a square", 4, "a sq"),
        ("aä", 2, "a"),  # ä takes two bytes
        ("aä", 3, "aä"),
        ("日本", 5, "日"),
        ("🙂", 3, ""),
        ("a\u0308 b", 8, "ä b"),  # typed as two characters
        ("  a\n\tred  square \n", 32, "a red square"),
        ("a\udcff", 8, "a?"),  # what a command line makes of bytes that are no text
    ],
)
def test_texts_are_cut_between_characters_and_alike_however_they_were_typed(text: str, length: int, kept: str) -> None:
    assert said(tokens([text], length)[0]) == kept


def test_a_text_lies_beside_its_picture(tmp_path: Path) -> None:
    keys = put(tmp_path, "a.png", "b/c.jpg", "d.png", "e.png")
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa red square\n")  # with a byte order mark
    (tmp_path / "b" / "c.txt").write_bytes(b"caf\xe9")  # not UTF-8
    (tmp_path / "d.txt").mkdir()
    assert beside(tmp_path, keys) == ("a red square", "caf\ufffd", "", "")


def test_a_table_names_pictures_from_its_own_folder(tmp_path: Path) -> None:
    keys = put(tmp_path, "train/a.png", "train/b.png", "train/x/c.png", "d.png")
    rows = [
        {"file_name": "train/a.png", "text": "far"},
        {"file_name": "d.png", "caption": ["one", "two"]},
        {"other": 1},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    (tmp_path / "train" / "metadata.csv").write_text(
        'file_name,text\na.png,"near, and quoted"\n./x/c.png,deep\nb.png,\n'
    )
    assert beside(tmp_path, keys) == ("near, and quoted", "", "deep", "one")
    (tmp_path / "train" / "a.txt").write_text("nearest")
    assert beside(tmp_path, keys)[0] == "nearest"


@pytest.mark.parametrize("line", ["{", "[1]", '"text"', '{"file_name": "a.png", "text": "x"'])
def test_a_damaged_table_is_refused_by_name(line: str, tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text(line)
    with pytest.raises(DataError, match=r"metadata.jsonl: not a table of captions"):
        beside(tmp_path, put(tmp_path, "a.png"))


@pytest.fixture(params=["memory", "disk"])
def config(request: pytest.FixtureRequest) -> DataConfig:
    return READ.model_copy(update={"memory": 1.0 if request.param == "memory" else 1e-9})


def test_batches_carry_the_captions_of_their_pictures(config: DataConfig, tmp_path: Path) -> None:
    keys = put(tmp_path, *(f"{i}.png" for i in range(10)))
    for key in keys[:8]:
        (tmp_path / key).with_suffix(".txt").write_text(f"no. {key[0]}")
    found = open_dataset(str(tmp_path), config, "all")
    assert found.uncaptioned == 2
    for workers in (0, 1):
        for batch in itertools.islice(Loader(found, 4, 0, workers=workers).stream(), 6):
            assert batch.text is not None
            shade = (255 * batch.x[:, 0, 0, 0]).round().int().tolist()
            assert [said(row) for row in batch.text] == [f"no. {i}" if i < 8 else "" for i in shade]
    texts = [batch.text for batch in in_order(found, 4)]
    assert torch.equal(torch.cat(texts), tokens(found.captions, 8))  # type: ignore[arg-type]


def test_without_being_asked_for_they_are_not_read(tmp_path: Path) -> None:
    keys = put(tmp_path, *(f"{i}.png" for i in range(9)))
    before = open_dataset(str(tmp_path), DataConfig(), "all")
    for key in keys:
        (tmp_path / key).with_suffix(".txt").write_text("x")
    (tmp_path / "metadata.jsonl").write_text("damaged")
    after = open_dataset(str(tmp_path), DataConfig(), "all")
    assert after.fingerprint == before.fingerprint
    assert after.captions == ()
    assert next(in_order(after, 2)).text is None


def test_other_captions_are_other_data(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    (tmp_path / "a.txt").write_text("x")

    def fingerprint(**changes: int) -> str:
        return open_dataset(str(tmp_path), READ.model_copy(update=changes), "all").fingerprint

    first = fingerprint()
    assert fingerprint(captions=9) != first
    (tmp_path / "a.txt").write_text("y")
    assert fingerprint() != first


def test_parts_and_pictures_set_aside_keep_captions_in_step(tmp_path: Path) -> None:
    keys = put(tmp_path, *(f"{i}.png" for i in range(30)))
    for key in keys:
        (tmp_path / key).with_suffix(".txt").write_text(key)
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:-30])  # the header is sound
    for part in open_parts(str(tmp_path), READ.model_copy(update={"heldout": 0.3})):
        assert part.captions == part.keys
        assert "3.png" not in part.keys


@pytest.mark.parametrize("blank", [None, "  \n"])
def test_none_at_all_is_one_line(blank: str | None, tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    if blank is not None:
        (tmp_path / "a.txt").write_text(blank)
    for text in (str(tmp_path), "digits"):
        with pytest.raises(
            DataError, match=r"^.*: no picture has a caption: put photo.txt beside photo.jpg"
        ) as refused:
            open_dataset(text, READ, "all")
        assert len(str(refused.value).splitlines()) == 1


def test_a_held_out_part_without_any_is_fine(tmp_path: Path) -> None:
    put(tmp_path, "train/a.png", "test/a.png")
    (tmp_path / "train" / "a.txt").write_text("x")
    assert open_dataset(str(tmp_path), READ, "heldout").captions == ("",)
    assert open_dataset(str(tmp_path), READ, "all").captions == ("x", "")
