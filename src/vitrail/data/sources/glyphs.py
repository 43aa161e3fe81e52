"""Letters and figures drawn from the fonts that matplotlib ships: an endless set, at any size, without a download.

`glyphs` or `glyphs:5000` (training pictures): 36 classes; `figures` or `figures:5000`: the ten figures alone. White on black, grey,
each with a random turn, slant, size and place. Picture i is a pure function of i; the test part is drawn from other random
numbers than the training part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vitrail.data.config import DataConfig
from vitrail.data.noise import GLYPHS, stream
from vitrail.data.source import Part, Pixels, Progress, Source, digest, same_shape, silent
from vitrail.errors import UsageError

CLASSES = {"glyphs": tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"), "figures": tuple("0123456789")}
NAMES = tuple(CLASSES)
SIZE = 32  # pixels, where the user gives none
COUNT = 20_000  # training pictures, where the user gives no number; the test part has a tenth of them
MOST = 10_000_000
FAMILIES = re.compile(r"(DejaVu(Sans|Serif)(Mono)?|STIXGeneral|cm(b|r|ss|ti|tt)10)(-|Bol|Ita|$)")
VERSION = "1"  # of the drawing; another drawing is another data set
CANVAS = 3  # drawn this many times larger, then reduced


@dataclass(frozen=True)
class Drawn:
    """Draws picture i of a part; its class is i modulo their number."""

    part: int  # 0 train, 1 test
    size: int
    classes: tuple[str, ...] = CLASSES["glyphs"]

    def __call__(self, i: int, least: int | None = None) -> Pixels:
        rng = stream(0, GLYPHS, i, self.part)
        fonts = font_files()
        return draw(self.classes[i % len(self.classes)], fonts[int(rng.integers(len(fonts)))], self.size, rng)


def accepts(text: str) -> bool:
    return text.partition(":")[0] in NAMES


def open(text: str, config: DataConfig, progress: Progress = silent) -> Source:
    """The set at `config.size`. Raises UsageError where what follows the colon is no number of pictures."""
    name, colon, number = text.partition(":")
    classes = CLASSES[name]
    if colon and not (number.isdecimal() and len(classes) <= int(number) <= MOST):
        raise UsageError(f"'{text}': after the colon goes a number from {len(classes)} to {MOST}")
    count, size = int(number or COUNT), config.size or SIZE
    held = max(len(classes), count // 10)
    return Source(text, _part(name, 0, count, size), _part(name, 1, held, size), classes)


def _part(name: str, part: int, count: int, size: int) -> Part:
    return Part(
        keys=tuple(f"{i:08d}" for i in range(count)),
        labels=np.arange(count, dtype=np.int64) % len(CLASSES[name]),
        shapes=same_shape(count, (size, size, 1)),
        read=Drawn(part, size, CLASSES[name]),
        stamp=digest(name, VERSION, str((part, size)), *(path.name for path in font_files())),
    )


def draw(letter: str, font: Path, size: int, rng: np.random.Generator) -> Pixels:
    """One letter as (size, size, 1), white on black, turned, slanted, scaled and moved at random."""
    wide = size * CANVAS
    sheet = _upright(letter, font, wide)
    moved = sheet.transform((wide, wide), Image.Transform.AFFINE, _affine(wide, rng), Image.Resampling.BILINEAR)
    return np.asarray(moved.reduce(CANVAS))[..., None]


def _affine(side: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Six coefficients that say for each place of the result where it comes from, turning about the middle."""
    angle, slant = np.radians(rng.uniform(-15, 15)), rng.uniform(-0.2, 0.2)
    stretch = np.diag(1 / rng.uniform(0.75, 1.15, size=2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = stretch @ np.array([[1, slant], [0, 1]]) @ turn
    middle = np.full(2, side / 2)
    offset = middle - matrix @ (middle + rng.uniform(-0.08, 0.08, size=2) * side)
    return (*matrix[0], offset[0], *matrix[1], offset[1])


@lru_cache(maxsize=1)
def font_files() -> tuple[Path, ...]:
    """Text fonts that have every letter and figure; symbol fonts put other signs in their places."""
    import matplotlib  # lazily, it takes a while

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return tuple(
        sorted((path for path in folder.glob("*.ttf") if FAMILIES.match(path.stem)), key=lambda path: path.name)
    )


@lru_cache(maxsize=1024)  # every letter of every font
def _upright(letter: str, font: Path, side: int) -> Image.Image:
    """The letter in the middle of a square, as its font draws it."""
    sheet = Image.new("L", (side, side))
    ink = ImageFont.truetype(font, side * 7 // 10, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(sheet).text((side / 2, side / 2), letter, fill=255, font=ink, anchor="mm")
    return sheet
