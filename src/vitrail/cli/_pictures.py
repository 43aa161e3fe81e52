"""Pictures in from any source, block by block, and pictures out as files named after them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitrail.data.dataset import open_source
from vitrail.data.modalities import image
from vitrail.data.resize import conform
from vitrail.data.source import Part, Pixels, Progress
from vitrail.data.split import whole
from vitrail.errors import DataError
from vitrail.model.model import Model

VALUES = 1 << 22  # in a block: 16 MiB of floats
MOST = 256  # pictures in a block
LEAST = 56  # pixels; smaller pictures are enlarged in grids
SHOWN = 32  # pictures in a grid of originals and reconstructions
GRID = "grid.png"  # the one file that belongs to no picture
RESERVED = re.compile(
    r"""[<>:"|?*\\\x00-\x1f]|[. ](?=/|$)|(?<![^/])(con|prn|aux|nul|com\d|lpt\d)(?=[./]|$)""", re.IGNORECASE
)
METADATA = "vitrail"  # keyword of the PNG text chunk


@dataclass(frozen=True)
class Block:
    """Pictures of one size that follow each other in the source."""

    keys: tuple[str, ...]
    x: Tensor  # (B, C, H, W) float in [0, 1]


@dataclass
class Input:
    """All pictures of a source, as the model wants them; those that cannot be read are set aside.

    A model that takes any size gets each picture in its own size, unless `resize`; another one always in the model's,
    by the policy that its recipe records.
    """

    part: Part
    model: Model
    resize: bool
    skipped: list[dict[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.part)

    def blocks(self, progress: Progress) -> Iterator[Block]:
        """Everything once, in order. Raises DataError where nothing can be read."""
        keys: list[str] = []
        pictures: list[Pixels] = []
        read = 0
        for i, key in enumerate(self.part.keys):
            picture = self._read(i)
            if picture is not None:
                if pictures and (picture.shape != pictures[0].shape or _full(pictures)):
                    yield Block(tuple(keys), _tensor(pictures))
                    keys, pictures = [], []
                keys.append(key)
                pictures.append(picture)
                read += 1
            progress(i + 1, len(self))
        if not read:
            raise DataError(f"none of {len(self)} pictures can be read; the first: {self.skipped[0]['reason']}")
        yield Block(tuple(keys), _tensor(pictures))

    def _read(self, i: int) -> Pixels | None:
        """Picture i as (C, H, W)."""
        try:
            picture = self.part.read(i)
        except DataError as error:
            self.skipped.append({"path": self.part.keys[i], "reason": str(error)})
            return None
        fixed = self.resize or self.model.codec.stride == 0
        space = self.model.spec.space if fixed else picture.shape[:2]
        return conform(picture, (self.model.spec.channels, *space), self.model.recipe.data.fit)


def opened(text: str, model: Model, resize: bool, progress: Progress, most: int | None = None) -> Input:
    """The pictures that a text names, or `most` of them spread evenly. Raises DataError where it names none."""
    config = model.recipe.data.model_copy(update={"captions": 0})
    part = whole(open_source(text, config, progress))
    if most is not None and len(part) > most:
        part = part.take(np.linspace(0, len(part) - 1, most).astype(np.int64))
    skipped = [{"path": fault.path, "reason": fault.reason} for fault in part.quarantine]
    return Input(part, model, resize, skipped)


def single(text: str, model: Model, progress: Progress) -> Tensor:
    """The one picture (1, C, H, W) that a text names. Raises DataError where there are more or it cannot be read."""
    given = opened(text, model, False, progress)
    if len(given) != 1:
        raise DataError(f"{text}: wants one picture, got {len(given)}")
    return next(given.blocks(progress)).x


class Files:
    """A folder of PNG files, each named after the picture it belongs to; those of one name keep their ending too.

    What Windows does not allow in a name becomes "_", so that the folder can be copied there and the names are the same everywhere.
    """

    def __init__(self, out: Path, keys: Sequence[str]) -> None:
        self.out = out
        inside = {key: _portable(_inside(key)) for key in keys}
        plain = {
            key: f"{name.rpartition('/')[0]}/{PurePosixPath(name).stem}.png".lstrip("/") for key, name in inside.items()
        }
        often = Counter(name.casefold() for name in (GRID, *plain.values()))
        names = {key: name if often[name.casefold()] == 1 else f"{inside[key]}.png" for key, name in plain.items()}
        if _meet(names.values()):  # "a.jpg.png" beside "a.jpg" and "a.png"
            names = {key: f"{name}.png" for key, name in inside.items()}
        self.names = _numbered(names) if _meet(names.values()) else names

    def write(self, key: str, x: Tensor, story: Mapping[str, Any] | None = None) -> str:
        """One picture (C, H, W); returns its name within the folder."""
        path = self.out / self.names[key]
        path.parent.mkdir(parents=True, exist_ok=True)
        image.write(path, x.cpu(), told(story))
        return self.names[key]


def grid(path: Path, x: Tensor, columns: int | None = None, story: Mapping[str, Any] | None = None) -> Path:
    """Pictures (B, C, H, W) in one file, small ones enlarged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_grid(path, x.cpu(), columns, told(story), LEAST)
    return path


def told(story: Mapping[str, Any] | None) -> dict[str, str] | None:
    """A story as the text chunk of a PNG."""
    return None if story is None else {METADATA: json.dumps(story, sort_keys=True)}


def noted(skipped: Sequence[Mapping[str, str]], most: int = 5) -> list[str]:
    """Lines on what was set aside."""
    lines = [f"set aside {each['path']}: {each['reason']}" for each in skipped[:most]]
    return lines + ([f"... and {len(skipped) - most} more, listed by --json"] if len(skipped) > most else [])


def _portable(name: str) -> str:
    """The name as Windows allows it too; "/" parts folders."""
    return RESERVED.sub(lambda found: "_" if len(found[0]) == 1 else f"_{found[0]}", name)


def _inside(key: str) -> str:
    """The key, which may come from a file that somebody else made. Raises DataError where it leads out of the folder."""
    path = PurePosixPath(key)
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in key:
        raise DataError(f"a picture named {key!r} would be written outside the folder; refused")
    return key


def _meet(names: Iterable[str]) -> bool:
    """Whether two are the same file on a system that does not tell capitals apart (Windows, macOS)."""
    folded = [name.casefold() for name in names]
    return len(set(folded)) < len(folded)


def _numbered(names: Mapping[str, str]) -> dict[str, str]:
    """The same, but the second of one name ends in -2, as "a:b" beside "a_b" or "A" beside "a"."""
    given: dict[str, str] = {}
    taken: set[str] = set()
    for key, name in names.items():
        tries = chain([name], (f"{name.removesuffix('.png')}-{number}.png" for number in count(2)))
        given[key] = next(each for each in tries if each.casefold() not in taken)
        taken.add(given[key].casefold())
    return given


def _full(pictures: Sequence[Pixels]) -> bool:
    return len(pictures) >= MOST or (len(pictures) + 1) * pictures[0].size > VALUES


def _tensor(pictures: Sequence[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).float() / 255
