"""Files of the named sets: from a local copy where there is one, else downloaded, resumed after a cut, and checked."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from vitrail.data.source import Progress, silent
from vitrail.errors import DataError

CHUNK = 2**20
TIMEOUT = 30.0  # seconds without a byte
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE = 206, 416


@dataclass(frozen=True)
class Remote:
    """One file: its name, its length in bytes, "sha256:..." or "md5:...", and the places that have it."""

    name: str
    size: int
    checksum: str
    urls: tuple[str, ...]


def home() -> Path:
    """Where named sets are looked for and kept: VITRAIL_DATA, else a folder in the user's cache."""
    given = os.environ.get("VITRAIL_DATA")
    return Path(given) if given else Path("~/.cache/vitrail/data").expanduser()


def fetch(remote: Remote, folder: Path, progress: Progress = silent) -> Path:
    """The file in `folder`, downloaded unless it is there. What arrives is checked before it gets its name.

    Raises DataError where no place can be reached or the contents are not those expected.
    """
    path = folder / remote.name
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; set VITRAIL_DATA to a folder that can be written to") from None
    failures = []
    for url in remote.urls:
        try:
            _download(url, path.with_name(f"{path.name}.part"), remote, progress)
            return path.with_name(f"{path.name}.part").replace(path)
        except (OSError, DataError) as error:
            failures.append(f"{url}: {getattr(error, 'reason', error)}")
    raise DataError(
        f"cannot download {remote.name} ({'; '.join(failures)}); "
        f"put the file into {folder}, or set VITRAIL_DATA to a local copy"
    )


def checksum(path: Path, kind: str) -> str:
    """Hexadecimal digest of a file; `kind` is the name of a hash."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _download(url: str, part: Path, remote: Remote, progress: Progress) -> None:
    """Add what is missing to `part`, then check it. Raises OSError where it is cut, DataError on other contents."""
    done = part.stat().st_size if part.exists() else 0
    if done > remote.size:
        part.unlink()
        done = 0
    if done < remote.size:
        _append(url, part, done, remote.size, progress)
    kind, _, wanted = remote.checksum.partition(":")
    if (found := checksum(part, kind)) != wanted:
        part.unlink()
        raise DataError(f"its {kind} is {found}, wanted {wanted}")


def _append(url: str, part: Path, done: int, size: int, progress: Progress) -> None:
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if answer.status != PARTIAL_CONTENT:
            done = 0  # the place cannot resume: from the start
        with part.open("ab" if done else "wb") as file:
            while done <= size and (chunk := answer.read(CHUNK)):
                file.write(chunk)
                done += len(chunk)
                progress(min(done, size), size)
    if done < size:
        raise OSError(f"the connection was cut after {done} of {size} bytes; the same command resumes")
