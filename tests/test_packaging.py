"""What pyproject.toml declares is what the code uses."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = {"test", "bench", "docs", "lint"}  # for work on vitrail itself


def names(requirements: list[str]) -> set[str]:
    """The packages of some requirements, as they are imported."""
    plain = (text.split(">")[0].split("[")[0] for text in requirements)
    return {name.replace("-", "_").lower() for name in plain} - {"vitrail"}


def imported() -> set[str]:
    """Top-level packages that src/ names, in an import or in text (importlib, PennyLane's own plugins)."""
    found: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 40:
                found.add(node.value.split(".")[0])
    return {name.lower() for name in found}


def test_an_extra_is_declared_for_a_feature_that_exists() -> None:
    declared = {extra: names(wants) for extra, wants in PROJECT["optional-dependencies"].items() if extra not in OURS}
    plugins = {"pennylane_qiskit", "qiskit_aer"}  # loaded by PennyLane, by the name of their device
    assert {
        extra: wants - imported() - plugins for extra, wants in declared.items() if wants - imported() - plugins
    } == {}


def test_every_bound_is_a_lower_one() -> None:
    """The script that installs the lower bounds reads them from here."""
    every = [*PROJECT["dependencies"], *(each for wants in PROJECT["optional-dependencies"].values() for each in wants)]
    assert [text for text in every if ">=" not in text and "[" not in text] == ["types-PyYAML"]


def test_the_tested_versions_cover_the_core_and_the_tests() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = names([line.replace("==", ">") for line in lines if "==" in line])
    assert names([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]) <= pinned
