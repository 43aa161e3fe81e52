"""Well-known sets by name: mnist, fashion-mnist, cifar10; from VITRAIL_DATA or the cache, else downloaded and checked.

Sources: LeCun, Cortes & Burges, MNIST, 1998; Xiao, Rasul & Vollgraf, arXiv:1708.07747; Krizhevsky, CIFAR-10, 2009.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from vitrail.data.config import DataConfig
from vitrail.data.download import Remote, fetch, home
from vitrail.data.source import Part, Progress, Source, silent, stored
from vitrail.data.sources import arrays, idx
from vitrail.errors import DataError

MNIST_URLS = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/")
FASHION_URLS = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
# fmt: off
MNIST_FILES = (
    ("train-images-idx3-ubyte.gz", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    ("train-labels-idx1-ubyte.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ("t10k-images-idx3-ubyte.gz", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    ("t10k-labels-idx1-ubyte.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
)
FASHION_FILES = (
    ("train-images-idx3-ubyte.gz", 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    ("train-labels-idx1-ubyte.gz", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ("t10k-images-idx3-ubyte.gz", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    ("t10k-labels-idx1-ubyte.gz", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
)
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# fmt: on
# The binary form, because the more usual Python form is pickles. The md5 is the one that the set's own page states.
CIFAR_ARCHIVE = Remote(
    "cifar-10-binary.tar.gz",
    170052171,
    "md5:c32a1d4ab5d03f1284b67883e8d87530",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
CIFAR_FOLDER = "cifar-10-batches-bin"
CIFAR_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR_TEST = ("test_batch.bin",)
CIFAR_RECORD = 1 + 3 * 32 * 32  # bytes: the label, then red, green and blue planes
CIFAR_BATCH = 10_000 * CIFAR_RECORD


def accepts(text: str) -> bool:
    return text.lower() in NAMES


def open(text: str, config: DataConfig, progress: Progress = silent) -> Source:
    """The set with its own train and test parts. Raises DataError where it is neither here nor to be had."""
    return READERS[text.lower()](text, progress)


def _mnist(text: str, progress: Progress) -> Source:
    return idx.read_folder(_idx_folder("mnist", MNIST_FILES, MNIST_URLS, progress), text)


def _fashion_mnist(text: str, progress: Progress) -> Source:
    folder = _idx_folder("fashion-mnist", FASHION_FILES, FASHION_URLS, progress)
    return idx.read_folder(folder, text, FASHION_CLASSES)


def _idx_folder(name: str, files: tuple[tuple[str, int, str], ...], urls: tuple[str, ...], progress: Progress) -> Path:
    """The folder with all four files; missing ones are fetched, unpacked local copies are as good."""
    folder = home() / name
    for file, size, sha256 in files:
        if not (folder / file.removesuffix(".gz")).is_file():
            fetch(Remote(file, size, f"sha256:{sha256}", tuple(url + file for url in urls)), folder, progress)
    return folder


def _cifar10(text: str, progress: Progress) -> Source:
    """From the unpacked archive, from two .npz files of sheets, or from the archive, fetched where it is not there."""
    folder = home() / "cifar10"
    for place in (folder / CIFAR_FOLDER, home() / CIFAR_FOLDER, folder):
        if all((place / name).is_file() for name in CIFAR_TRAIN + CIFAR_TEST):
            bodies = {name: (place / name).read_bytes() for name in CIFAR_TRAIN + CIFAR_TEST}
            return _cifar_source(text, bodies)
    for place in (folder, home()):
        train, test = (next(iter(sorted(place.glob(f"cifar10_{part}*.npz"))), None) for part in ("train", "test"))
        if train and test:
            (first, _, classes), (second, _, _) = arrays.read_npz(train, progress), arrays.read_npz(test, progress)
            return Source(text, first, second, classes)
    return _cifar_source(text, _unpacked(fetch(CIFAR_ARCHIVE, folder, progress)))


def _unpacked(archive: Path) -> dict[str, bytes]:
    """The archive's batches, read without writing anything to disk."""
    try:
        with tarfile.open(archive) as tar:
            members = {Path(member.name).name: member for member in tar if member.isfile()}
            return {name: _member(tar, members[name]) for name in CIFAR_TRAIN + CIFAR_TEST}
    except (KeyError, OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{archive}: not the CIFAR-10 archive, or damaged: {error}; delete it") from None


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # isfile() was asked
    return file.read(CIFAR_BATCH + 1)


def _cifar_source(text: str, bodies: dict[str, bytes]) -> Source:
    return Source(text, _cifar_part(bodies, CIFAR_TRAIN), _cifar_part(bodies, CIFAR_TEST), CIFAR_CLASSES)


def _cifar_part(bodies: dict[str, bytes], names: tuple[str, ...]) -> Part:
    for name in names:
        if len(bodies[name]) != CIFAR_BATCH:
            raise DataError(f"{name}: {len(bodies[name])} bytes, wanted {CIFAR_BATCH}")
    records = np.concatenate([np.frombuffer(bodies[name], dtype=np.uint8) for name in names]).reshape(-1, CIFAR_RECORD)
    if records[:, 0].max() >= len(CIFAR_CLASSES):
        raise DataError(f"{names[0]}: label {records[:, 0].max()}, but there are {len(CIFAR_CLASSES)} classes")
    pixels = records[:, 1:].reshape(-1, 3, 32, 32)
    return stored(np.ascontiguousarray(np.moveaxis(pixels, 1, -1)), records[:, 0].astype(np.int64))


READERS = {"mnist": _mnist, "fashion-mnist": _fashion_mnist, "cifar10": _cifar10}
NAMES = tuple(READERS)
