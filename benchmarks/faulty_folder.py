"""A folder of 2,000 pictures, 40 of them planted: what is readable must be read right, the rest listed with its reason.

    python benchmarks/faulty_folder.py [--files 2000] [--faults 40]

Prints one line of JSON. `read_right` counts pictures equal to the known ones (within JPEG's loss where they are JPEGs),
`listed` the unreadable ones in the quarantine; `order_unchanged` compares with the same folder without the unreadable.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_dataset

SIDE = 32  # pixels
EXACT, JPEG_LOSS = 0.0, 8.0  # mean absolute difference allowed, of 255
ORIENTATION = 0x0112
ROTATED = 6  # EXIF: to be turned by 90 degrees clockwise for display
Pixels = np.ndarray  # (H, W, 3) uint8


@dataclass
class Planted:
    """What is in the folder: pictures by name with the loss allowed, and words of each fault's reason."""

    pictures: dict[str, tuple[Pixels, float]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def picture(number: int, side: int = SIDE) -> Pixels:
    """A smooth colour picture of a few hundred colours, different for every number."""
    rng = np.random.default_rng(number)
    corners = Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8))
    return np.asarray(corners.resize((side, side), Image.Resampling.BICUBIC)) & 0xF0


def exact(path: Path, x: Pixels) -> tuple[Pixels, float]:
    Image.fromarray(x).save(path, "PNG")
    return x, EXACT


def cmyk_tiff(path: Path, x: Pixels) -> tuple[Pixels, float]:
    Image.fromarray(x).convert("CMYK").save(path, "TIFF")
    return x, EXACT


def cmyk_jpeg(path: Path, x: Pixels) -> tuple[Pixels, float]:
    Image.fromarray(x).convert("CMYK").save(path, "JPEG", quality=95)
    return x, JPEG_LOSS


def sixteen_bits(path: Path, x: Pixels) -> tuple[Pixels, float]:
    grey = x[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(path, "PNG")
    return np.repeat(grey[..., None], 3, axis=-1), EXACT


def palette(path: Path, x: Pixels) -> tuple[Pixels, float]:
    few = Image.fromarray(x).quantize(64)
    few.save(path, "PNG")
    return np.asarray(few.convert("RGB")), EXACT


def animated(path: Path, x: Pixels) -> tuple[Pixels, float]:
    first = Image.fromarray(x).quantize(64)
    first.save(path, "GIF", save_all=True, append_images=[Image.fromarray(255 - x).quantize(64)], duration=40)
    return np.asarray(first.convert("RGB")), EXACT


def exif_rotated(path: Path, x: Pixels) -> tuple[Pixels, float]:
    exif = Image.Exif()
    exif[ORIENTATION] = ROTATED
    Image.fromarray(np.rot90(x).copy()).save(path, "PNG", exif=exif)  # counter-clockwise, so that the tag undoes it
    return x, EXACT


def empty(path: Path, x: Pixels) -> None:
    path.touch()


def truncated_png(path: Path, x: Pixels) -> None:
    Image.fromarray(x).save(path, "PNG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def truncated_jpeg(path: Path, x: Pixels) -> None:
    Image.fromarray(x).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])


def text(path: Path, x: Pixels) -> None:
    path.write_text("This is a list of things to do, and no picture.\n" * 20)


def symlink_loop(path: Path, x: Pixels) -> None:
    path.symlink_to(path.name)


def huge_header(path: Path, x: Pixels) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


# Odd but readable, with the suffix that the file gets.
ODD: tuple[tuple[Callable[[Path, Pixels], tuple[Pixels, float]], str], ...] = (
    (exact, ".jpg"),  # PNG by its contents
    (cmyk_tiff, ".tif"),
    (cmyk_jpeg, ".jpg"),
    (sixteen_bits, ".png"),
    (palette, ".png"),
    (animated, ".gif"),
    (exif_rotated, ".png"),
)
# Unreadable: suffix, and words of the reason.
BROKEN: tuple[tuple[Callable[[Path, Pixels], None], str, str], ...] = (
    (empty, ".png", "empty file"),
    (truncated_png, ".png", "damaged"),
    (truncated_jpeg, ".jpg", "truncated"),
    (text, ".png", "not a picture"),
    (symlink_loop, ".png", "symbolic link"),
    (huge_header, ".png", "more pixels"),
)


def plant(folder: Path, files: int, faults: int) -> Planted:
    """Fill a folder; the planted files are spread evenly, their kinds in turn."""
    planted, kinds = Planted(), len(ODD) + len(BROKEN)
    places = dict(zip(np.linspace(0, files - 1, faults).astype(int).tolist(), range(faults), strict=True))
    for number in range(files):
        x, kind = picture(number), places.get(number, -1) % kinds if number in places else -1
        stem = folder / f"{number:05d}"
        if kind < len(ODD):
            write, suffix = ODD[kind] if kind >= 0 else (exact, ".png")
            path = stem.with_suffix(suffix)
            planted.pictures[path.name] = write(path, x)
        else:
            spoil, suffix, words = BROKEN[kind - len(ODD)]
            path = stem.with_suffix(suffix)
            spoil(path, x)
            planted.faults[path.name] = words
    return planted


def right(dataset: Dataset, planted: Planted) -> int:
    """How many pictures are those that were planted under their name."""
    pixels = dataset.images(range(len(dataset))).permute(0, 2, 3, 1).numpy()
    count = 0
    for key, found in zip(dataset.keys, pixels, strict=True):
        known, loss = planted.pictures[key]
        count += bool(np.abs(found.astype(float) - known).mean() <= loss)
    return count


def measure(folder: Path, files: int, faults: int) -> dict[str, object]:
    """Plant, open, compare; then take the unreadable ones away and compare the order."""
    planted = plant(folder, files, faults)
    config = DataConfig(size=SIDE)
    start = time.perf_counter()
    dataset = open_dataset(str(folder), config, "all")
    seconds = time.perf_counter() - start
    reasons = {fault.path: fault.reason for fault in dataset.quarantine}
    listed = sum(words in reasons.get(name, "") for name, words in planted.faults.items())
    for name in planted.faults:
        (folder / name).unlink()
    clean = open_dataset(str(folder), config, "all")
    return {
        "files": files,
        "planted": faults,
        "readable": len(planted.pictures),
        "read_right": right(dataset, planted),
        "unreadable": len(planted.faults),
        "listed": listed,
        "listed_wrongly": len(reasons.keys() - planted.faults.keys()),
        "order_unchanged": dataset.keys == clean.keys == tuple(sorted(planted.pictures)),
        "reasons": {words: next(reasons[n] for n, w in planted.faults.items() if w == words) for _, _, words in BROKEN},
        "seconds": round(seconds, 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--faults", type=int, default=40)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), given.files, given.faults)
    print(json.dumps(result))
    good = result["read_right"] == result["readable"] and result["listed"] == result["unreadable"]
    return 0 if good and not result["listed_wrongly"] and result["order_unchanged"] else 1


if __name__ == "__main__":
    sys.exit(main())
