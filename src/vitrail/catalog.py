"""Find a part by name: a part's name is the name of its file, and this module only reads folders.

`find("bottlenecks", "vq")` is `vitrail/bottlenecks/vq.py`. Files that start with `_` are not parts. Where the name is a word of
Python's own, its file ends in `_`, as variables do: `import` is `cli/import_.py`.
Another package adds a part with an entry point: group `vitrail.bottlenecks`, name `bsq`, value its module.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import keyword
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from vitrail.errors import UsageError

ROOT = Path(__file__).parent


def names(folder: str) -> tuple[str, ...]:
    """Names of all parts in a folder such as "bottlenecks" or "objectives/reconstruction", sorted."""
    own = {path.stem.removesuffix("_").replace("_", "-") for path in (ROOT / folder).glob("[!_]*.py")}
    return tuple(sorted(own | {entry.name for entry in _foreign(folder)}))


def find(folder: str, name: str) -> ModuleType:
    """The module of a part. Raises UsageError with the nearest name and the whole list on a miss."""
    if name not in names(folder):
        raise UsageError(f"unknown {_singular(folder)} '{name}'{nearest(name, names(folder))}")
    for entry in _foreign(folder):
        if entry.name == name:
            return importlib.import_module(entry.value)
    return importlib.import_module(f"vitrail.{folder.replace('/', '.')}.{_stem(name)}")


def summary(folder: str, name: str) -> str:
    """First line of the part's docstring, read without importing it (so that --help stays fast)."""
    return _docstring(folder, name).partition("\n")[0]


def expected(folder: str, name: str) -> str:
    """What the part's docstring says was measured of it: its sentence that begins with "Expected"; empty where there is none."""
    _, found, rest = _docstring(folder, name).partition("\nExpected ")
    lines = rest.partition("\nPaper")[0].partition("\n\n")[0]
    return " ".join(lines.split()) if found else ""


def _docstring(folder: str, name: str) -> str:
    """A part's docstring, read without importing it."""
    path = ROOT / folder / f"{_stem(name)}.py"
    if not path.exists():
        return find(folder, name).__doc__ or ""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def nearest(word: str, choices: tuple[str, ...]) -> str:
    """The tail of an error message: what was probably meant, and what there is."""
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    meant = f"; did you mean '{close[0]}'?" if close else ""
    return f"{meant} (there is: {', '.join(choices)})"


def _stem(name: str) -> str:
    """The file's name without its end."""
    stem = name.replace("-", "_")
    return f"{stem}_" if keyword.iskeyword(stem) else stem


def _foreign(folder: str) -> tuple[EntryPoint, ...]:
    return tuple(_installed().select(group=f"vitrail.{folder.replace('/', '.')}"))


@cache
def _installed() -> Any:
    """What all installed packages declare, with a method `select`; looking takes 15 ms."""
    return entry_points()


def _singular(folder: str) -> str:
    """What a part of the folder is called."""
    if folder == "samplers/continuous":
        return "solver"
    last = folder.rpartition("/")[2]
    return last[:-1] if last.endswith("s") else last
