"""Files that are complete or absent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitrail import durable
from vitrail.errors import UsageError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    durable.write_file(path, b"old")

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "_write_through", full)
    with pytest.raises(OSError, match="No space left"):
        durable.write_file(path, b"new", through=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    with (
        durable.alone(tmp_path),
        pytest.raises(UsageError, match="written by another process"),
        durable.alone(tmp_path),
    ):
        pass
    with durable.alone(tmp_path):
        pass


def test_a_writer_that_dies_leaves_the_folder_to_the_next(tmp_path: Path) -> None:
    writer = (
        "import sys, pathlib\nfrom vitrail import durable\n"
        "with durable.alone(pathlib.Path(sys.argv[1])):\n  print('in', flush=True)\n  sys.stdin.read()"
    )
    command = [sys.executable, "-c", writer, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        with pytest.raises(UsageError, match="written by another process"), durable.alone(tmp_path):
            pass
        process.kill()
        process.wait()
        with durable.alone(tmp_path):
            pass


def test_a_name_that_another_program_holds_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where a viewer or a virus scanner keeps a file for a moment."""
    refused = iter([PermissionError(13, "in use")] * 2)
    plain = Path.replace

    def replace(beside: Path, path: Path) -> Path:
        if (error := next(refused, None)) is not None:
            raise error
        return plain(beside, path)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(durable, "PAUSE", 0.0)
    durable.write_file(tmp_path / "status.json", b"new")
    assert (tmp_path / "status.json").read_bytes() == b"new"
    refused = iter([PermissionError(13, "in use")] * 9)
    monkeypatch.setattr(durable, "PATIENCE", 0.0)
    with pytest.raises(PermissionError, match="in use"):
        durable.write_file(tmp_path / "status.json", b"newer")
    assert (tmp_path / "status.json").read_bytes() == b"new"


def test_a_folder_is_written_where_folders_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", opened)
    durable.write_folder(tmp_path / "model", {"config.json": b"{}"})
    assert (tmp_path / "model" / "config.json").read_bytes() == b"{}"
