"""From a picture file, or a Pillow image of any mode, to 8-bit grey or RGB."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vitrail.data.source import Pixels
from vitrail.errors import DataError

# fmt: off
SUFFIXES = frozenset((
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif",
    ".ppm", ".pgm", ".pbm", ".pnm", ".avif",
))
# fmt: on
# Only these decoders are tried: Pillow's others include rarely tested ones and one that starts a program (EPS).
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "AVIF")
MAX_PIXELS = 89_000_000
EXIF_ORIENTATION = 0x0112
SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations that swap height and width
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before it is decoded; the size is the one after EXIF rotation."""

    height: int
    width: int
    channels: int


def header(path: Path, max_pixels: int = MAX_PIXELS) -> Header:
    """The size and colour of a picture, without decoding it. Raises DataError with the reason, one line."""
    with _opened(path, max_pixels) as image:
        width, height = image.size
        if image.getexif().get(EXIF_ORIENTATION) in SIDEWAYS:
            height, width = width, height
        return Header(height, width, 1 if image.mode in GREY_MODES else 3)


def decode(path: Path, max_pixels: int = MAX_PIXELS, least: int | None = None) -> Pixels:
    """The picture in a file as (H, W, C). Raises DataError with the reason, one line, where it cannot be read.

    least: where given, a JPEG may come back smaller, though no side below this one (several times faster).
    """
    with _opened(path, max_pixels) as image:
        if least and image.format == "JPEG":
            scale = max(1.0, min(image.size) / least)
            image.draft(image.mode, (int(image.width / scale), int(image.height / scale)))
        return pixels(ImageOps.exif_transpose(image))


def pixels(image: Image.Image) -> Pixels:
    """A Pillow image of any mode as (H, W, C) uint8: transparency over white, 16 bits scaled to 8."""
    if image.mode.startswith("I;16"):
        return _from_16_bits(np.asarray(image).astype(np.int64))
    if image.mode in ("I", "F"):
        return _from_wide(np.asarray(image))
    if image.has_transparency_data:
        image = _over_white(image)
    array = np.array(image.convert("L" if image.mode in GREY_MODES else "RGB"))
    return array.reshape(*array.shape[:2], -1)


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """The image, header read and checked; whatever a decoder says of a damaged file becomes one DataError."""
    _check_file(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise DataError(f"{image.width} x {image.height} pixels, more than data.max_pixels={max_pixels}")
            yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"not a picture: {_beginning(path)}") from None
    except Image.DecompressionBombError:
        raise DataError(f"its header promises more pixels than data.max_pixels={max_pixels}") from None
    except MemoryError:
        raise DataError("does not fit in memory") from None
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise DataError(f"damaged: {_one_line(error)}") from error


def _check_file(path: Path) -> None:
    """Raises DataError unless this is a file with something in it."""
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(_why_not_there(path, error)) from None
    if not stat.S_ISREG(state.st_mode):  # reading a pipe would wait for ever
        raise DataError("not a file")
    if state.st_size == 0:
        raise DataError("empty file (0 bytes)")
    if not os.access(path, os.R_OK):
        raise DataError("no permission to read it")


def _why_not_there(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "symbolic link that leads back to itself"
    if path.is_symlink():
        return "symbolic link to a file that does not exist"
    return _one_line(error.strerror or error)


def _beginning(path: Path) -> str:
    """What the file is instead, as far as its first bytes tell."""
    with path.open("rb") as file:
        first = file.read(12)
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in first):
        return f"its contents begin with the text {first.decode('ascii')!r}"
    return f"its contents begin with the bytes {first.hex(' ')}"


def _one_line(error: object) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__


def _over_white(image: Image.Image) -> Image.Image:
    grey = image.mode in ("LA", "La", "L", "1")
    rgba = image.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return flat.convert("L" if grey else "RGB")


def _from_16_bits(array: np.ndarray) -> Pixels:
    """(H, W) of 0..65535 as (H, W, 1) of 0..255, rounded; 65535 = 255 * 257."""
    return ((array + 128) // 257).astype(np.uint8)[..., None]


def _from_wide(array: np.ndarray) -> Pixels:
    """32-bit pictures state no range: integers are read as 16 bits, floats as 0..1. Raises DataError beyond these."""
    low, high = array.min(), array.max()
    if array.dtype.kind == "i" and low >= 0 and high <= 65535:
        return _from_16_bits(array.astype(np.int64))
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(array * 255).astype(np.uint8)[..., None]
    raise DataError(f"32-bit picture with values from {low:g} to {high:g}; save it with 8 or 16 bits")
