"""Where commands write: not on, around or inside what they read, and not over what vitrail did not write.

Every command passes through `guard` before it begins, whatever it is: its parameters say what is read and what is written.
What stands where a file is to go is replaced if it bears vitrail's mark: the text chunk "Software: vitrail" of a PNG, a
fingerprint among the arrays of a file of latents, a run and a fingerprint in a JSON file.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from vitrail.cli import _latents, _run
from vitrail.data import made
from vitrail.data.modalities import image
from vitrail.errors import Interrupted, ModelError, UsageError

logger = logging.getLogger(__name__)

PASSED_OVER = "passed over as data"  # marks an --out that may lie inside the data, since such folders are never data
RUNS = ("RUN", "RUN...")  # metavars of what a command reads
READ = (*RUNS, "INPUT", "FILE", "SOURCE", "FEATURES", "CHECKPOINT", "PICTURE")
SETTING = "KEY=VALUE"  # whose value may name a file of weights
LARGEST_JSON = 64 << 20  # bytes of a file that is searched for our mark

Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace files that vitrail did not write, too")]


@dataclass(frozen=True)
class Given:
    """A file or folder that a command reads."""

    name: str  # as the user knows it: "--data" or "INPUT"
    path: Path
    metavar: str


def guard(entries: Sequence[inspect.Parameter], values: Mapping[str, Any]) -> None:
    """Look at a command's --out before the command begins.

    Raises UsageError where it is, holds or lies inside something that the command reads, or cannot be written.
    """
    for entry in entries:
        if _is_out(entry) and values.get(entry.name) is not None:
            out, info = Path(values[entry.name]), _info(entry)
            _apart(out, list(_given(entries, values)), PASSED_OVER in entry.annotation.__metadata__)
            writable(out, folder=info.metavar != "FILE")


def writable(path: Path, *, folder: bool, advice: str = "name another place") -> None:
    """Raises UsageError where no such file or folder could be written. Nothing is made."""
    if _exists(path):
        mode = path.stat().st_mode if path.exists() else 0
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise UsageError(f"{path} is no ordinary file or folder (a device, a pipe, a broken link); {advice}")
        if folder != stat.S_ISDIR(mode):
            raise UsageError(f"{path} is a {'file' if folder else 'folder'}; {advice}")
    first = path if folder else path.absolute().parent
    there = next(each for each in (first, *first.absolute().parents) if _exists(each))
    if not there.is_dir():
        raise UsageError(f"{path} cannot be made: {there} is no folder; {advice}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{path} cannot be written: {there} is read-only; {advice}")


def free(out: Path, names: Iterable[str], overwrite: bool) -> None:
    """Raises UsageError where a file in a folder would replace one that vitrail did not write, or leave the folder by a link."""
    paths = [out / name for name in names]
    home = os.path.realpath(out)
    for folder in dict.fromkeys(path.parent for path in paths):
        if os.path.commonpath([home, os.path.realpath(folder)]) != home:
            raise UsageError(f"{folder} is a link that leads out of {out}; name a new folder")
    taken = [path for path in paths if _exists(path) and not _replaceable(path, overwrite)]
    if taken:
        others = f" and {len(taken) - 1} more files" if taken[1:] else ""
        raise UsageError(
            f"{taken[0]}{others} would be replaced, which vitrail did not write; name a new place, or add --overwrite"
        )


def ours(path: Path) -> bool:
    """Whether a file bears vitrail's mark."""
    try:
        with path.open("rb") as file:
            first = file.read(4)
        if first[:1] == b"{" and path.stat().st_size <= LARGEST_JSON:
            return {"run", "fingerprint"} <= json.loads(path.read_bytes()).keys()
    except (OSError, ValueError, RecursionError):
        return False
    return image.marked(path) if first == b"\x89PNG" else first[:2] == b"PK" and _latents.marked(path)


@contextmanager
def surviving(path: Path) -> Iterator[list[str]]:
    """Warn where something cannot be written inside the block, and go on: what was computed is then still printed.

    The list that the block is given holds the warning.
    """
    lost: list[str] = []
    try:
        yield lost
    except (OSError, Interrupted) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        lost.append(f"{path} is not written: {reason or error}")
        logger.warning("%s", lost[0])


def _given(entries: Sequence[inspect.Parameter], values: Mapping[str, Any]) -> Iterator[Given]:
    """What the command reads and what is there; names of sets, recipes and classes are no paths."""
    for entry in entries:
        info, value = _info(entry), values.get(entry.name)
        metavar = str(getattr(info, "metavar", None))
        if value is None or _is_out(entry) or metavar not in (*READ, SETTING):
            continue
        name = next(iter(_flags(info)), metavar)
        for text in map(str, value if isinstance(value, list | tuple) else [value]):
            path = Path(text.partition("=")[2] if metavar == SETTING else text).expanduser()
            if path.is_file() or (metavar != SETTING and text and path.exists()):
                yield Given(name, path, metavar)


def _apart(out: Path, given: Sequence[Given], passed_over: bool) -> None:
    """Raises UsageError where the output is, holds or lies inside something that is read, or inside a run's own parts."""
    home = made.home(out)
    if home is not None and (part := _below(home, out)) in made.PARTS:
        raise UsageError(f"--out {out} lies in {part} of {home}, which is the run's own; name another place")
    for each in given:
        relation = _relation(out, each.path)
        inside = relation == "lies inside"
        if inside and ((passed_over and each.metavar == "SOURCE") or _reaches(home, each.path)):
            continue
        if relation == "holds" and passed_over and each.metavar != "SOURCE" and made.never_data(out):
            continue  # the same command again, with the run's own recipe.json for --config
        if relation:
            raise UsageError(f"--out {out} {relation} {each.name} {each.path}, which is only read; name a place apart")
    for each in given:
        if each.metavar in RUNS and home is None and not passed_over and _learnt_from(each.path, out):
            raise UsageError(
                f"--out {out} lies in the data that {each.path} was trained on, where it would count as data; "
                "name a place apart"
            )


def _relation(out: Path, path: Path) -> str | None:
    """How an output lies to what is there. By the identity of folders, which no link and no spelling changes."""
    own, other = _identity(out), _identity(path)
    if own == other:
        return "is"
    if other in map(_identity, Path(os.path.realpath(out)).parents):
        return "lies inside"
    return "holds" if own and own in map(_identity, Path(os.path.realpath(path)).parents) else None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _reaches(home: Path | None, path: Path) -> bool:
    """Whether an input is a run folder or holds it: what lies in that run is no part of the input, or of no use to it."""
    return home is not None and _relation(home, path) in ("is", "lies inside")


def _below(home: Path, out: Path) -> str:
    return Path(os.path.realpath(out)).relative_to(os.path.realpath(home)).parts[0]


def _learnt_from(run: Path, out: Path) -> bool:
    """Whether an output lies in the folder that a run learnt from, as far as the run knows where that was."""
    home = _run.folder_of(run)
    try:
        place = None if home is None else _run.recipe_of(home)["data"].get("place")
    except (ModelError, KeyError, TypeError, AttributeError):
        return False  # what is damaged is told by the command itself
    real = Path(os.path.realpath(out))
    return place is not None and place in map(made.place, (real, *real.parents))


def _replaceable(path: Path, overwrite: bool) -> bool:
    return path.is_file() and (overwrite or ours(path))


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _info(entry: inspect.Parameter) -> Any:
    """What the parser is told of a parameter."""
    return next((each for each in getattr(entry.annotation, "__metadata__", ()) if hasattr(each, "metavar")), None)


def _flags(info: Any) -> list[str]:
    """The names of an option, of which the parser keeps the first where a default would be."""
    told = (getattr(info, "default", None), *(getattr(info, "param_decls", None) or ()))
    return [each for each in told if isinstance(each, str) and each.startswith("-")]


def _is_out(entry: inspect.Parameter) -> bool:
    return "--out" in _flags(_info(entry))
