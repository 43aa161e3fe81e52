"""Drawn letters: legible, unlike one another, and the same for the same number."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_parts, open_source
from vitrail.data.sources import glyphs
from vitrail.errors import UsageError


def test_size_and_number_are_as_asked() -> None:
    source = open_source("glyphs:100", DataConfig(size=20))
    assert source.test is not None
    assert (len(source.train), len(source.test)) == (100, 36)
    assert source.train.read(7).shape == (20, 20, 1)
    assert source.classes[0] == "A"
    assert len(open_source("glyphs", DataConfig()).train) == glyphs.COUNT


@pytest.mark.parametrize("text", ["glyphs:", "glyphs:many", "glyphs:1", "glyphs:-5", "glyphs:99999999999"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="after the colon"):
        open_source(text, DataConfig())


def test_a_picture_depends_on_its_number_alone() -> None:
    few, many = (open_source(text, DataConfig()).train for text in ("glyphs:50", "glyphs:5000"))
    assert all(np.array_equal(few.read(i), many.read(i)) for i in range(0, 50, 7))


def test_no_picture_is_in_both_parts() -> None:
    train, heldout = open_parts("glyphs:2000", DataConfig())
    seen = {picture.numpy().tobytes() for picture in train.images(range(len(train)))}
    assert len(seen) == len(train)
    assert not any(picture.numpy().tobytes() in seen for picture in heldout.images(range(len(heldout))))


def test_letters_are_inside_the_picture_and_can_be_told_apart() -> None:
    train, heldout = open_parts("glyphs:7200", DataConfig(size=16))
    x, y = (part.images(range(len(part))).flatten(1).numpy() / 255 for part in (train, heldout))
    assert x.max(1).min() > 0.4
    assert x.mean() < 0.35
    judge = KNeighborsClassifier(3).fit(x, train.labels.numpy())
    assert judge.score(y, heldout.labels.numpy()) > 0.6


def test_fonts_are_text_fonts() -> None:
    names = {path.stem for path in glyphs.font_files()}
    assert len(names) >= 15
    assert not names & {"cmsy10", "cmex10", "cmmi10", "STIXSizOneSymReg", "STIXNonUni", "LastResortHE-Regular"}
