"""Named sets from local copies, packed or not."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_source
from vitrail.data.sources import named
from vitrail.errors import DataError


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRAIL_DATA", str(tmp_path))


def cifar_batches() -> dict[str, bytes]:
    """Six batches of black pictures whose red plane holds the batch's number."""
    bodies = {}
    for number, name in enumerate(named.CIFAR_TRAIN + named.CIFAR_TEST):
        records = np.zeros((10_000, named.CIFAR_RECORD), np.uint8)
        records[:, 0] = np.arange(10_000) % 10
        records[:, 1 : 1 + 1024] = number
        bodies[name] = records.tobytes()
    return bodies


def check(text: str = "cifar10") -> None:
    source = open_source(text, DataConfig())
    assert source.test is not None
    assert (len(source.train), len(source.test)) == (50_000, 10_000)
    assert source.classes[6] == "frog"
    assert source.train.labels[:12].tolist() == [*range(10), 0, 1]
    assert source.train.read(25_000)[3, 4].tolist() == [2, 0, 0]
    assert source.test.read(0)[0, 0].tolist() == [5, 0, 0]


def test_cifar_unpacked(tmp_path: Path) -> None:
    folder = tmp_path / "cifar10" / named.CIFAR_FOLDER
    folder.mkdir(parents=True)
    for name, body in cifar_batches().items():
        (folder / name).write_bytes(body)
    check()
    (folder / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(DataError, match=r"test_batch\.bin: 5 bytes, wanted 30730000"):
        check()


def test_cifar_archive(tmp_path: Path) -> None:
    (tmp_path / "cifar10").mkdir()
    archive = tmp_path / "cifar10" / named.CIFAR_ARCHIVE.name
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for name, body in cifar_batches().items():
            member = tarfile.TarInfo(f"{named.CIFAR_FOLDER}/{name}")
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    check("CIFAR10")
    archive.write_bytes(archive.read_bytes()[:-500])
    with pytest.raises(DataError, match="delete it"):
        check()


def test_without_copy_or_network_the_message_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"put the file into .* or set VITRAIL_DATA"):
        open_source("mnist", DataConfig())


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_copies_and_their_checksums(
    name: str, test_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitrail.data.download import checksum

    monkeypatch.setenv("VITRAIL_DATA", str(test_data(name).parent))
    files = named.MNIST_FILES if name == "mnist" else named.FASHION_FILES
    for file, size, sha256 in files:
        assert (test_data(name) / file).stat().st_size == size
        assert checksum(test_data(name) / file, "sha256") == sha256
    source = open_source(name, DataConfig())
    assert source.classes[9] == ("9" if name == "mnist" else "Ankle boot")


def test_real_cifar_sheets(test_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRAIL_DATA", str(test_data("cifar10_train20000_webp.npz").parent))
    source = open_source("cifar10", DataConfig())
    assert source.test is not None
    assert (len(source.train), len(source.test)) == (20_000, 10_000)
    assert source.classes == named.CIFAR_CLASSES
