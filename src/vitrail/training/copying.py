"""Whether a finished model copies its training pictures: looked at once, at the end of training, and kept in the run folder.

samples/nearest.png shows samples, each above the training picture that it is nearest to; copies.json holds the numbers.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from vitrail import durable
from vitrail.data.dataset import Dataset
from vitrail.data.loader import unit
from vitrail.data.modalities import image
from vitrail.metrics.copies import LEAST, Copies
from vitrail.model.given import given
from vitrail.model.model import Model
from vitrail.model.nearest import look_up, looks, searched
from vitrail.training import checkup
from vitrail.training.findings import SHOWN, Condition, Finding

FILE, PICTURE = "copies.json", "samples/nearest.png"
SAMPLES = 64  # drawn: numbers 0 ... 63 of the run's seed
MOST, FEWEST = 2000, 500  # training pictures searched, if there are as many: of large pictures fewer
VALUES = 1 << 24  # of all pictures searched at full size, so that it takes seconds
HELDOUT = 200  # pictures at most
COLUMNS = 16
ENLARGED = 56  # pixels; smaller pictures are enlarged
LINE = 12  # pixels of the line that tells a distance
NAME = "copies"  # of the finding
FIXES = ("training.select=best", "data.augment=1", "data.flip=true", "prior.dropout=0.1")


def look(model: Model, out: Path, data: Dataset, heldout: Dataset) -> None:
    """Draw some samples and look for them among the training pictures; tell it where more are copies than chance explains.

    Nothing is done for a model without a prior, and with fewer than LEAST training pictures. Raises Interrupted on a full disk.
    """
    if model.prior is None or len(data) < LEAST:
        return
    seed = model.recipe.training.seed
    x = model.sample(SAMPLES, seed=seed, **given(model, heldout, 0, SAMPLES, seed))
    most = min(MOST, max(FEWEST, VALUES // math.prod(model.spec.shape)))
    found = look_up(model, looks(model, x), data, heldout, most=most, unseen=HELDOUT)
    told = finding(found, len(data), model)
    if told is not None:
        checkup.tell(out, told)
    with durable.storing(out / FILE):
        _draw(out / PICTURE, x.cpu(), found["pixels"], data)
        content = printed(found, data, searched(model, len(data), most), told)
        durable.write_file(out / FILE, json.dumps(content, indent=1).encode(), through=True)


def finding(found: dict[str, Copies], training: int, model: Model) -> Finding | None:
    """What there is to warn of, in the space in which most samples are copies; None where there are none, or it may be chance."""
    evident = [(each.samples.value, space) for space, each in found.items() if each.evident]
    if not evident:
        return None
    share, space = max(evident)
    its = found[space].heldout
    said = (
        f"samples: {share:.0%} of {found[space].samples.n} are copies of training pictures or nearly so, seen in {space}, where "
        f"chance makes {found[space].expected:.0%}; of {its.n} held-out pictures {its.value:.0%} are"
    )
    cause = (
        f"the model has learnt its {training:,} training pictures by heart: it needs more of them, or a shorter budget"
    )
    return Finding(NAME, said, cause, tuple(filter(_condition(model).takes, FIXES))[:SHOWN])


def printed(found: dict[str, Copies], data: Dataset, read: int, told: Finding | None) -> dict[str, Any]:
    """JSON form: shares by space, and of every sample the training picture nearest in pixels, the most suspicious first."""
    pixels = found["pixels"]
    near = pixels.nearest
    rows = (
        {
            "sample": i,
            "training": data.keys[int(near.index[i])],
            "distance": round(float(near.distance[i]), 5),
            "closeness": round(float(near.closeness[i]), 5),
            "copy": bool(near.closeness[i] <= pixels.threshold),
        }
        for i in pixels.closest.tolist()
    )
    return {
        "training": len(data),
        "searched": read,
        "spaces": {name: _summary(each, name == "pixels") for name, each in found.items()},
        "nearest": list(rows),
        "finding": None if told is None else str(told),
    }


def read(run: Path) -> dict[str, Any] | None:
    """What `look` wrote of a run; None where it wrote nothing."""
    path = run / FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _summary(found: Copies, pixels: bool) -> dict[str, Any]:
    sides = {"samples": found.samples, "heldout": found.heldout}
    shares = {name: {"copies": each.value, "interval": each.interval, "n": each.n} for name, each in sides.items()}
    medians = {
        "samples": found.median,
        **({"heldout": found.median_heldout} if pixels else {}),
    }  # which are seen as pixels
    chance = {"expected": found.expected, "threshold": found.threshold, "probability": found.probability}
    return {**shares, "median": medians, **chance}


def _condition(model: Model) -> Condition:
    """As far as it takes to know which settings a recipe knows and has not yet."""
    return Condition(recipe=model.recipe, step=0, progress=1.0, size=0, vectors=0, stats={}, terms={})


def _draw(path: Path, x: Tensor, found: Copies, data: Dataset) -> None:
    """Samples (N, C, H, W), the most suspicious first, each above its nearest training picture and their distance."""
    order = found.closest
    learnt = unit(data.readable(found.nearest.index[order].numpy())[0])
    factor = max(1, -(-ENLARGED // min(x.shape[2:])))
    pairs = torch.cat([x[order], learnt], 2).repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    lines = [_line(float(each), pairs.shape[1], pairs.shape[3]) for each in found.nearest.distance[order]]
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_grid(path, torch.cat([pairs, torch.stack(lines)], 2), COLUMNS)


def _line(distance: float, channels: int, width: int) -> Tensor:
    """(C, LINE, width) black on white."""
    line = Image.new("L", (width, LINE), 255)
    ImageDraw.Draw(line).text((1, 0), f"{distance:.3f}", fill=0)
    return torch.from_numpy(np.asarray(line) / np.float32(255)).expand(channels, -1, -1)
