"""The bar on damaged folders, run on a small one in every test run and at full size among the slow tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from vitrail.data.config import DataConfig
from vitrail.data.dataset import open_dataset
from vitrail.errors import DataError


@pytest.fixture(scope="module")
def bar() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "faulty_folder.py"
    spec = importlib.util.spec_from_file_location("faulty_folder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["faulty_folder"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("files", "faults"), [(200, 26), pytest.param(2000, 40, marks=pytest.mark.slow)])
def test_readable_right_and_the_others_listed(bar: ModuleType, tmp_path: Path, files: int, faults: int) -> None:
    result = bar.measure(tmp_path, files, faults)
    assert result["read_right"] == result["readable"]
    assert result["listed"] == result["unreadable"] > 0
    assert result["listed_wrongly"] == 0
    assert result["order_unchanged"]
    assert all("\n" not in reason for reason in result["reasons"].values())


def test_strict_stops_at_the_first_fault(bar: ModuleType, tmp_path: Path) -> None:
    bar.plant(tmp_path, 40, 26)
    with pytest.raises(DataError, match=r"data.strict"):
        open_dataset(str(tmp_path), DataConfig(size=32, strict=True), "all")


def test_faults_are_shared_out_between_the_parts(bar: ModuleType, tmp_path: Path) -> None:
    planted = bar.plant(tmp_path, 120, 52)
    parts = [open_dataset(str(tmp_path), DataConfig(size=32, heldout=0.4), part) for part in ("train", "heldout")]
    found = [{fault.path for fault in part.quarantine} for part in parts]
    assert not found[0] & found[1]
    assert found[0] | found[1] == set(planted.faults)


def test_reading_as_needed_lets_the_next_picture_stand_in(bar: ModuleType, tmp_path: Path) -> None:
    planted = bar.plant(tmp_path, 60, 26)
    whole = open_dataset(str(tmp_path), DataConfig(size=32, memory=1e-9), "all")
    assert whole.pixels is None
    pixels, index = whole.readable(np.arange(len(whole)))
    assert {fault.path for fault in whole.quarantine} == set(planted.faults)
    for found, i in zip(pixels, index, strict=True):
        known, loss = planted.pictures[whole.keys[i]]
        assert abs(found.transpose(1, 2, 0).astype(float) - known).mean() <= loss
