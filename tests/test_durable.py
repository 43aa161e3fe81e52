"""Files that are complete or absent."""

from __future__ import annotations

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
