"""The codebook of a run over its training set, as numbers and a picture in the run folder: what the report shows of it."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from vitrail import durable
from vitrail.codecs.codebook import report
from vitrail.codecs.codec import Codec
from vitrail.data.modalities import image

MOST = 256  # codes in the atlas, over all levels
FOLDER, NUMBERS, ATLAS = "codebook", "codebook.json", "atlas.png"


def draw(run: Path, codec: Codec, codes: Tensor) -> None:
    """Write codebook/ from the codes (N, Q, *S) of the training set. Raises Interrupted on a full disk."""
    found = report(codec, codes, max(16, MOST // codec.bottleneck.levels))
    folder = run / FOLDER
    with durable.storing(folder):
        folder.mkdir(exist_ok=True)
        image.write(folder / ATLAS, found.sheet())
        durable.write_file(folder / NUMBERS, json.dumps({"part": "train", **found.printed()}).encode())
