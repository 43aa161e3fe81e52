"""1,797 handwritten digits of 8 x 8 pixels, bundled with scikit-learn: real data without a download.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (test part), UCI, 1998.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vitrail.data.config import DataConfig
from vitrail.data.source import Labels, Progress, Source, silent, stored
from vitrail.data.split import positions

NAMES = ("digits",)
LARGEST = 16  # the set's own grey levels are 0..16
TEST_SHARE = 0.2


def accepts(text: str) -> bool:
    return text in NAMES


def open(text: str, config: DataConfig, progress: Progress = silent) -> Source:
    """The set with a fixed test part: a fifth of each class."""
    from sklearn.datasets import load_digits  # takes half a second

    raw = load_digits()
    pixels = np.rint(raw.images * (255 / LARGEST)).astype(np.uint8)[..., None]
    labels = raw.target.astype(np.int64)
    whole = stored(pixels, labels)
    test = _test_part(whole.keys, labels)
    return Source(
        text, whole.take(np.flatnonzero(~test)), whole.take(np.flatnonzero(test)), tuple(str(i) for i in range(10))
    )


def _test_part(keys: tuple[str, ...], labels: Labels) -> npt.NDArray[np.bool_]:
    """The fifth of each class whose names come first by hash."""
    place, test = positions(keys), np.zeros(len(keys), dtype=bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        test[own[np.argsort(place[own])][: round(TEST_SHARE * len(own))]] = True
    return test
