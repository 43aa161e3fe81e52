import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_parts
from vitrail.errors import DataError, UsageError
from vitrail.model.recipe import Training
from vitrail.networks.features import load_features, small
from vitrail.training.features import suited, train_features, turned
from vitrail.types import DataSpec

PLAIN = Training(precision="fp32", threads=1)


@pytest.fixture(scope="module")
def digits() -> tuple[Dataset, Dataset]:
    return open_parts("digits", DataConfig(heldout=0.2))


@pytest.fixture(scope="module")
def folder(digits: tuple[Dataset, Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("features") / "net"
    report = train_features(*digits, out, budget="150 steps", training=PLAIN)
    assert (report.task, report.steps, report.path) == ("classes", 150, out)
    assert report.accuracy is not None
    assert report.accuracy > 0.9
    return out


def test_the_folder_loads_and_records_how_it_was_made(folder: Path, digits: tuple[Dataset, Dataset]) -> None:
    net = load_features(folder)
    record = json.loads((folder / "config.json").read_text())["record"]
    assert record["task"] == "classes"
    assert record["train"] == {"samples": len(digits[0]), "fingerprint": digits[0].fingerprint, "shape": [1, 8, 8]}
    assert not folder.with_name("net.training").exists()
    assert isinstance(net, small.Small)
    x = digits[1].images(range(len(digits[1]))).float() / 255
    accuracy = (net.logits(x).argmax(1) == digits[1].labels).float().mean()
    assert float(accuracy) == pytest.approx(record["accuracy"], abs=1e-6)


def test_the_same_seed_gives_the_same_file(digits: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    reports = [train_features(*digits, tmp_path / name, budget="5 steps", training=PLAIN) for name in ("a", "b")]
    other = train_features(*digits, tmp_path / "c", budget="5 steps", seed=1, training=PLAIN)
    assert reports[0].sha256 == reports[1].sha256 != other.sha256


def test_what_is_there_is_not_overwritten(folder: Path, digits: tuple[Dataset, Dataset]) -> None:
    with pytest.raises(UsageError, match="exists already"):
        train_features(*digits, folder, budget="1 steps")


def test_without_labels_it_learns_how_pictures_were_turned(tmp_path: Path) -> None:
    train, heldout = open_parts("digits", DataConfig(heldout=0.2))
    for part in (train, heldout):
        part.labels = torch.full_like(part.labels, -1)
    report = train_features(train, heldout, tmp_path / "net", budget="120 steps", training=PLAIN)
    assert report.task == "rotations"
    assert report.accuracy is not None
    assert report.accuracy > 0.6  # by chance 0.25; some digits look alike upside down


def test_turning_crops_the_middle_square() -> None:
    x = torch.arange(2 * 4 * 6, dtype=torch.float32).view(2, 1, 4, 6)
    out, turns = turned(x, torch.tensor([0, 1]))
    assert torch.equal(out[0], x[0, :, :, 1:5])
    assert torch.equal(out[1], x[1, :, :, 1:5].rot90(1, (1, 2)))
    assert turns.tolist() == [0, 1]


class _Labelled:
    """As much of a data set as the choice of a task reads."""

    def __init__(self, shape: tuple[int, ...], labels: list[int], classes: tuple[str, ...] = ()) -> None:
        self.spec = DataSpec(shape=shape, classes=classes)
        self.labels: Tensor = torch.tensor(labels)


@pytest.mark.parametrize(
    ("shape", "labels", "task", "classes", "stages"),
    [
        ((1, 28, 28), [0, 1, 2], "classes", 3, 2),
        ((3, 128, 128), [-1, 0, 4], "classes", 5, 4),
        ((3, 8, 8), [-1, -1], "rotations", 4, 1),
        ((1, 64, 48), [0, 0], "rotations", 4, 3),
    ],
)
def test_task_and_depth_follow_the_data(
    shape: tuple[int, ...], labels: list[int], task: str, classes: int, stages: int
) -> None:
    chosen, config = suited(_Labelled(shape, labels))  # type: ignore[arg-type]
    assert (chosen, config.classes, config.stages, config.channels) == (task, classes, stages, shape[0])


@pytest.mark.parametrize("shape", [(1, 7, 28), (1, 400)])
def test_pictures_that_are_too_small_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="at least 8 x 8"):
        suited(_Labelled(shape, [0, 1]))  # type: ignore[arg-type]
