"""Files and folders that are either complete or not there, also after a crash of the machine."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import filelock

from vitrail.errors import Interrupted, UsageError

BESIDE = ".unfinished"  # ending of what is still being written, or already being removed
FULL = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT")}  # Windows has no quota error of its own
PATIENCE, PAUSE = 2.0, 0.05  # seconds that a name held by another program is waited for, and between two tries


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn a full disk or another failure to write into Interrupted, one line."""
    try:
        yield
    except OSError as error:
        full = error.errno in FULL
        raise Interrupted(
            f"cannot write {path}: {error.strerror or error}; earlier checkpoints are intact: "
            f"{'make room' if full else 'mend this'}, then run the same command again"
        ) from error


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder inside the block; the system ends it with this process, however that dies.

    Raises UsageError if another process is in there.
    """
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UsageError(
            f"{folder} is being written by another process; wait for it, or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


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
        put_in_place(beside, path)
    except OSError:
        shutil.rmtree(beside, ignore_errors=True)  # gives its room back
        raise
    sync_folder(path.parent)


def write_file(path: Path, content: bytes, through: bool = False) -> None:
    """Replace a file so that readers see the old or the new one; `through`: it is on the disk when this returns."""
    beside = path.with_name(path.name + BESIDE)
    try:
        _write_through(beside, content) if through else beside.write_bytes(content)
        put_in_place(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    if through:
        sync_folder(path.parent)


def put_in_place(beside: Path, path: Path) -> None:
    """Give a finished file or folder its name; a file of that name is replaced. Raises OSError.

    Windows refuses while another program has the file open, as a viewer or a virus scanner does for a moment; that is waited for.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            beside.replace(path)
            return
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(PAUSE)


def remove_folder(path: Path) -> None:
    """Remove a folder if it is there; interrupted half-way it no longer carries its name."""
    if path.exists():
        going = path.with_name(path.name + ".old" + BESIDE)
        shutil.rmtree(going, ignore_errors=True)
        put_in_place(path, going)
        shutil.rmtree(going, ignore_errors=True)


def remove_unfinished(folder: Path, prefix: str) -> None:
    """Remove what an interrupted process left behind."""
    for left in folder.glob(f"{prefix}*{BESIDE}"):
        shutil.rmtree(left, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Make names in a folder survive a loss of power, where the system lets a folder be opened; Windows does not."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
