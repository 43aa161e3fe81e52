"""Files and folders that are either complete or not there, also after a crash of the machine."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from vitrail.errors import Interrupted, UsageError

BESIDE = ".unfinished"  # ending of what is still being written, or already being removed


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn a full disk or another failure to write into Interrupted, one line."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise Interrupted(
            f"cannot write {path}: {error.strerror or error}; earlier checkpoints are intact: "
            f"{'make room' if full else 'mend this'}, then run the same command again"
        ) from error


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder inside the block; the system ends it with this process, however that dies.

    Raises UsageError if another process is in there.
    """
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{folder} is being written by another process; wait for it, or choose another folder"
            ) from None
        yield


def occupied(folder: Path) -> bool:
    """Whether a process keeps others out of a folder, see `alone`. Raises OSError where the lock may not be opened."""
    if not (folder / ".lock").exists():
        return False
    try:
        with alone(folder):
            return False
    except UsageError:
        return True
    except OSError as error:
        if error.errno == errno.EROFS:  # nobody writes there
            return False
        raise


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files so that it appears at once and complete; one of that name is replaced. Raises OSError."""
    beside = path.with_name(path.name + BESIDE)
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        for name, content in files.items():
            _write_through(beside / name, content)
        sync_folder(beside)
        remove_folder(path)
        beside.rename(path)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)  # gives its room back
        raise
    sync_folder(path.parent)


def write_file(path: Path, content: bytes, through: bool = False) -> None:
    """Replace a file so that readers see the old or the new one; `through`: it is on the disk when this returns."""
    beside = path.with_name(path.name + BESIDE)
    try:
        _write_through(beside, content) if through else beside.write_bytes(content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    if through:
        sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder if it is there; interrupted half-way it no longer carries its name."""
    if path.exists():
        going = path.with_name(path.name + ".old" + BESIDE)
        shutil.rmtree(going, ignore_errors=True)
        path.rename(going)
        shutil.rmtree(going, ignore_errors=True)


def remove_unfinished(folder: Path, prefix: str) -> None:
    """Remove what an interrupted process left behind."""
    for left in folder.glob(f"{prefix}*{BESIDE}"):
        shutil.rmtree(left, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Make names in a folder survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
