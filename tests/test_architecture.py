"""Contracts over the source text: layers, sizes, names, docstrings, and nothing that unpickles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parents[1] / "src" / "vitrail"
FILES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}

# From the ground up. A folder imports only from rows above its own in this list, so no cycle can exist between folders.
ROWS = (
    "errors",
    "types",
    "catalog durable processes processor",
    "data networks samplers",
    "bottlenecks objectives metrics",
    "codecs priors",
    "model",
    "training tasks interop",
    "recipes",
    "studies",
    "serve",
    "cli",
    "__init__ __main__",
)
HEIGHT = {name: height for height, row in enumerate(ROWS) for name in row.split()}
CATALOG_USERS = {"data", "samplers"} | {name for name, height in HEIGHT.items() if height >= HEIGHT["model"]}


def owner(path: Path) -> str:
    """The folder or top-level module that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Folders and top-level modules of vitrail that a file names in any import statement, lazy ones included."""
    package = ("vitrail", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            stem = [*above, *(node.module or "").split(".")] if node.module else [*above]
            targets = [[*stem, alias.name] for alias in node.names]
        else:
            continue
        yield from (target[1] if len(target) > 1 else "__init__" for target in targets if target[0] == "vitrail")


def violations(path: Path) -> Iterator[str]:
    own = owner(path)
    for other in imports(path):
        if other != own and HEIGHT.get(other, HEIGHT["__init__"]) >= HEIGHT[own]:
            yield f"{path.relative_to(ROOT)} may not import {other}"
        if other == "catalog" and own not in CATALOG_USERS:
            yield f"{path.relative_to(ROOT)} may not use the catalog: import the part, or take it as an argument"


def functions() -> dict[str, int]:
    """Lines of every function without its docstring."""
    lengths = {}
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                doc = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0
                lengths[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1 - doc
    return lengths


def test_every_folder_has_a_place_in_the_rows() -> None:
    assert {owner(path) for path in FILES} <= HEIGHT.keys()


def test_imports_go_down() -> None:
    assert [found for path in FILES for found in violations(path)] == []


def test_the_layer_test_sees_lazy_and_relative_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "networks" / "planted.py"
    source = (
        "def f():\n  from vitrail.model import recipe\n  from .. import tasks\n  from vitrail import catalog, load\n"
    )
    monkeypatch.setitem(TREES, path, ast.parse(source))
    named = [found.rpartition(" ")[2] for found in violations(path) if "may not import" in found]
    assert named == ["model", "tasks", "load"]
    assert sum("catalog" in found for found in violations(path)) == 1


def test_no_file_is_named_after_nothing() -> None:
    empty = {"utils", "util", "common", "helpers", "helper", "misc", "base"}
    assert [path for path in FILES if empty & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}] == []


def test_files_are_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > 350} == {}


def test_functions_are_short() -> None:
    lengths = functions()
    assert {name: lines for name, lines in lengths.items() if lines > 80} == {}
    assert median(lengths.values()) <= 8
    assert quantiles(lengths.values(), n=10)[-1] <= 30


def test_every_module_has_a_docstring() -> None:
    assert [path for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_every_folder_says_what_it_owns_and_may_import() -> None:
    for folder in {path.parent for path in FILES} - {ROOT}:
        says = ast.get_docstring(TREES[folder / "__init__.py"]) or ""
        assert re.search(r"\b(Imports|May import) \w", says), folder


def test_nothing_unpickles() -> None:
    """No pickle is ever loaded; foreign checkpoints are interop's, which reads them in a child process."""
    modules = r"\bimport (pickle|dill|cloudpickle|joblib|shelve)\b"
    forbidden = re.compile(rf"{modules}|(?<!safetensors\.)\btorch\.load\(|allow_pickle=True")
    assert [path for path in FILES if owner(path) != "interop" and forbidden.search(path.read_text())] == []


def test_text_is_read_and_written_in_an_encoding_that_is_named() -> None:
    """Else it is the system's own, which is not UTF-8 on Windows."""
    plain = re.compile(r"\.(read_text|write_text)\((?![^)]*encoding)")
    assert [path for path in FILES if plain.search(path.read_text(encoding="utf-8"))] == []
