"""Every odd form of picture: read right, or refused with the reason."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail import catalog
from vitrail.data.modalities import image
from vitrail.errors import DataError, UsageError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 20), dtype=np.uint8)
RGB = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (12, 20, 1), dtype=np.uint8)
OVER_WHITE = np.rint(RGB * (ALPHA / 255) + 255 * (1 - ALPHA / 255))
SMOOTH = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (3, 5, 3), dtype=np.uint8)).resize((20, 12), Image.Resampling.BICUBIC)
)


def save(path: Path, x: Image.Image, **options: Any) -> Path:
    x.save(path, **options)
    return path


@pytest.mark.parametrize("name", catalog.names("data/modalities"))
def test_every_modality_declares_its_contract(name: str) -> None:
    modality = catalog.find("data/modalities", name)
    assert modality.dims in range(4)
    assert callable(modality.read)
    assert callable(modality.write)
    assert callable(modality.as_tensor)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp"])
def test_lossless_rgb(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(RGB), **options)
    assert np.array_equal(image.read(path), RGB)
    assert image.header(path) == image.Header(12, 20, 3)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "pgm", "gif"])
def test_lossless_grey(tmp_path: Path, suffix: str) -> None:
    found = image.read(save(tmp_path / f"a.{suffix}", Image.fromarray(GREY)))
    assert np.array_equal(found, np.repeat(GREY[..., None], found.shape[-1], -1))


@pytest.mark.parametrize(("suffix", "loss"), [("jpg", 8), ("webp", 8), ("avif", 8)])
def test_lossy(tmp_path: Path, suffix: str, loss: float) -> None:
    found = image.read(save(tmp_path / f"a.{suffix}", Image.fromarray(SMOOTH), quality=95))
    assert np.abs(found.astype(float) - SMOOTH).mean() < loss


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    rgba = Image.fromarray(np.concatenate([RGB, ALPHA], -1))
    assert np.abs(image.read(save(tmp_path / "a.png", rgba)) - OVER_WHITE).max() <= 1
    grey = Image.fromarray(np.concatenate([GREY[..., None], ALPHA], -1), "LA")
    found = image.read(save(tmp_path / "b.png", grey))
    assert found.shape == (12, 20, 1)
    assert np.abs(found - np.rint(GREY[..., None] * (ALPHA / 255) + 255 * (1 - ALPHA / 255))).max() <= 1


def test_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    few = Image.fromarray(SMOOTH).quantize(8)
    path = save(tmp_path / "a.png", few, transparency=3)
    hidden = np.asarray(few) == 3
    assert hidden.any()
    assert (image.read(path)[hidden] == 255).all()


def test_palette_cmyk_and_one_bit(tmp_path: Path) -> None:
    few = Image.fromarray(SMOOTH).quantize(16)
    assert np.array_equal(image.read(save(tmp_path / "a.png", few)), np.asarray(few.convert("RGB")))
    cmyk = save(tmp_path / "a.tif", Image.fromarray(RGB).convert("CMYK"))
    assert np.array_equal(image.read(cmyk), RGB)
    bits = save(tmp_path / "b.png", Image.fromarray(GREY > 127))
    assert np.array_equal(image.read(bits)[..., 0], np.where(GREY > 127, 255, 0))


def test_sixteen_bits_are_rounded_to_eight(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (12, 20), dtype=np.uint16)
    for suffix in ("png", "tif"):
        path = save(tmp_path / f"a.{suffix}", Image.fromarray(deep))
        assert np.array_equal(image.read(path)[..., 0], np.rint(deep / 257))
        assert image.header(path).channels == 1


def test_float_tiff_in_range_and_out_of_it(tmp_path: Path) -> None:
    unit = RNG.random((12, 20), dtype=np.float32)
    assert np.array_equal(image.read(save(tmp_path / "a.tif", Image.fromarray(unit)))[..., 0], np.rint(unit * 255))
    with pytest.raises(DataError, match="32-bit picture with values"):
        image.read(save(tmp_path / "b.tif", Image.fromarray(unit * 1000)))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    first, second = (Image.fromarray(np.full((12, 20, 3), value, np.uint8)) for value in ((255, 0, 0), (0, 255, 0)))
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", first, save_all=True, append_images=[second], duration=40, **options)
    assert np.array_equal(image.read(path), np.asarray(first))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", Image.fromarray(RGB), exif=exif)
    found = _displayed(RGB, orientation)
    assert np.array_equal(image.read(path), found)
    assert image.header(path) == image.Header(*found.shape)


def _displayed(stored: np.ndarray, orientation: int) -> np.ndarray:
    """What the EXIF standard says is shown, written out."""
    flipped, turned = stored[:, ::-1], stored.transpose(1, 0, 2)
    return {
        1: stored, 2: flipped, 3: stored[::-1, ::-1], 4: stored[::-1],
        5: turned, 6: turned[:, ::-1], 7: turned[::-1, ::-1], 8: turned[::-1],
    }[orientation]  # fmt: skip


def test_the_contents_count_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).save(path, "PNG")
    assert np.array_equal(image.read(path), RGB)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty file"),
        (b"hello, this is text\n" * 9, "not a picture: its contents begin with the text 'hello, this '"),
        (bytes(range(128, 200)), "not a picture: its contents begin with the bytes 80 81"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, body: bytes, reason: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(body)
    with pytest.raises(DataError, match=f"a.png: {reason}"):
        image.read(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    large = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(large))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError) as refusal:
        image.read(path)
    assert "\n" not in str(refusal.value)


def test_a_flipped_byte_in_a_png_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    body = bytearray(path.read_bytes())
    body[body.index(b"IDAT") + 40] ^= 0xFF
    path.write_bytes(body)
    with pytest.raises(DataError, match="damaged"):
        image.read(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "nowhere.png").symlink_to("missing")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    reasons = {"loop": "back to itself", "nowhere": "does not exist", "folder": "not a file", "pipe": "not a file"}
    for name, reason in {**reasons, "missing": "No such file"}.items():
        with pytest.raises(DataError, match=reason):
            image.read(tmp_path / f"{name}.png")


def test_size_limits_hold_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RGB))
    assert image.read(path, max_pixels=240).shape == (12, 20, 3)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"20 x 12 pixels, more than data\.max_pixels=239"):
        image.read(path, max_pixels=239)
    body = bytearray(path.read_bytes())
    body[16:24] = struct.pack(">II", 50_000, 50_000)
    path.write_bytes(body)
    with pytest.raises(DataError):
        image.read(path)


def test_a_large_jpeg_may_come_back_smaller_but_not_too_small(tmp_path: Path) -> None:
    large = Image.fromarray(SMOOTH).resize((800, 480), Image.Resampling.BICUBIC)
    path = save(tmp_path / "a.jpg", large, quality=95)
    assert image.read(path, least=100).shape == (120, 200, 3)
    assert image.read(path, least=480).shape == (480, 800, 3)


def test_what_is_written_is_read_back_with_its_story(tmp_path: Path) -> None:
    story = {"recipe": '{"name": "vqvae"}', "seed": "3", "caption": "blühende Wiese 草"}
    for channels in (1, 3):
        x = torch.rand(channels, 9, 7, generator=torch.Generator().manual_seed(0))
        image.write(tmp_path / "a.png", x, story)
        assert np.array_equal(image.read(tmp_path / "a.png"), image.to_uint8(x).movedim(0, -1).numpy())
        assert image.metadata(tmp_path / "a.png") == story
    image.write(tmp_path / "b.png", x)
    assert image.metadata(tmp_path / "b.png") == {}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]
    with pytest.raises(UsageError, match=r"name it a\.png"):
        image.write(tmp_path / "a.jpg", x)
    with pytest.raises(DataError, match="a picture is"):
        image.write(tmp_path / "a.png", torch.rand(2, 9, 7))


def test_every_byte_survives_the_way_to_floats_and_back() -> None:
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(image.to_uint8(image.as_tensor(x)), x)


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (GREY, (1, 1, 12, 20)),
        (RGB, (1, 3, 12, 20)),
        (RGB[None].repeat(5, 0), (5, 3, 12, 20)),
        (RGB.transpose(2, 0, 1), (1, 3, 12, 20)),
        (np.zeros((7, 28, 28), np.uint8), (7, 1, 28, 28)),
        (np.zeros((7, 28, 28, 1)), (7, 1, 28, 28)),
        (torch.zeros(2, 3, 4, 5), (2, 3, 4, 5)),
        (torch.zeros(3, 4, 3), (1, 3, 4, 3)),
        (torch.zeros(2, 4, 5, 3), (2, 3, 4, 5)),
        (torch.zeros(4, 5, dtype=torch.uint8), (1, 1, 4, 5)),
        (torch.zeros(1, 1, 4, 5, dtype=torch.bfloat16), (1, 1, 4, 5)),
        (Image.fromarray(RGB), (1, 3, 12, 20)),
        ([Image.fromarray(RGB), RGB], (2, 3, 12, 20)),
        (RGB[::-1, ::-1], (1, 3, 12, 20)),
    ],
)
def test_usual_forms_become_one(x: Any, shape: tuple[int, ...]) -> None:
    found = image.as_tensor(x)
    assert tuple(found.shape) == shape
    assert found.dtype == torch.float32


def test_values_of_the_usual_forms() -> None:
    want = torch.from_numpy(RGB).movedim(-1, 0)[None] / 255
    assert torch.equal(image.as_tensor(RGB), want)
    assert torch.equal(image.as_tensor(Image.fromarray(RGB)), want)
    assert torch.equal(image.as_tensor(want), want)
    assert torch.equal(image.as_tensor(GREY, channels=3)[:, 1:2], image.as_tensor(GREY))
    grey = image.as_tensor(RGB, channels=1)[0, 0] * 255
    assert np.abs(grey.numpy() - np.asarray(Image.fromarray(RGB).convert("L"))).max() <= 1


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.full((1, 3, 4, 4), -1.0), r"\(x \+ 1\) / 2"),
        (torch.full((1, 3, 4, 4), 200.0), "divide by 255"),
        (torch.full((1, 3, 4, 4), float("nan")), "wanted"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), "state no range"),
        (torch.zeros(1, 2, 4, 4), "neither 1 nor 3 channels"),
        (np.zeros((4, 4, 4), np.uint8), "neither 1 nor 3 channels"),
        (np.zeros(4), "pictures of shape"),
        (np.array(["a"]), "is no picture"),
        ("photo.png", "cannot take str"),
        ([], "cannot take list"),
        ([GREY, RGB], "different shapes"),
    ],
)
def test_other_forms_are_refused_with_advice(x: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        image.as_tensor(x)


def test_grid_places_pictures_row_by_row() -> None:
    x = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 4, 6) / 10
    sheet = image.grid(x, columns=2, gap=1)
    assert tuple(sheet.shape) == (3, 3 * 5 - 1, 2 * 7 - 1)
    assert torch.equal(sheet[:, 5:9, 7:13], x[3])
    assert (sheet[:, 4] == 1).all()
    assert (sheet[:, 10:, 7:] == 1).all()
    assert tuple(image.grid(x, gap=0).shape) == (3, 8, 18)


def test_save_grid_enlarges_small_pictures(tmp_path: Path) -> None:
    image.save_grid(tmp_path / "g.png", torch.rand(4, 1, 8, 8), 2, {"seed": "1"}, least=20)
    assert image.read(tmp_path / "g.png").shape == (2 * 24 + 2, 2 * 24 + 2, 1)
    assert image.metadata(tmp_path / "g.png") == {"seed": "1"}


def test_a_failed_write_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image.write(tmp_path / "a.png", torch.zeros(1, 4, 4))

    def full(self: Image.Image, file: Any, **options: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        image.write(tmp_path / "a.png", torch.ones(1, 4, 4))
    assert image.read(tmp_path / "a.png").max() == 0
