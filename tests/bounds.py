"""Whether vitrail works at both ends of what pyproject.toml allows: `make test-bounds`, or

    python tests/bounds.py [--at lowest newest] [--torch 2.13.0] [--python python3.11 python3.12] [--in DIR]

For every interpreter and end: a wheel is built and installed in an empty environment, with every dependency at its lower bound or
as new as there is, then the main job in miniature and the quick tests run from outside the sources. torch is large and often comes
with CUDA, so it is the tested version of constraints.txt at both ends, unless --torch names another, or `bound`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = (
    *(
        "tests/test_processor.py",
        "tests/test_durable.py",
        "tests/data",
        "tests/bottlenecks",
        "tests/priors/test_contract.py",
    ),
    *("tests/interop/test_onnx.py", "tests/interop/test_diffusers.py", "tests/networks/quantum/test_pennylane.py"),
)
INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:")
JOB = "tests/systems/job.py"
NEWER = (12, 13, 14)  # minor versions of Python 3 that are tried where they are installed


@dataclass(frozen=True)
class Ran:
    """What came of one environment."""

    name: str
    state: str  # "passed", "failed", "skipped"
    detail: str


def main() -> int:
    """Every environment in turn, then a line on each. 1 where one failed."""
    asked = _asked()
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="bounds-") as made:
        folder = Path(made)
        wheel = _wheel(folder)
        found = [_ran(folder, wheel, python, end, asked) for python in asked.python for end in asked.at]
    for each in found:
        print(f"{each.state:8}{each.name:28}{each.detail}")
    return int(any(each.state == "failed" for each in found))


def _ran(folder: Path, wheel: Path, python: str, end: str, asked: argparse.Namespace) -> Ran:
    """One environment: made, tried, removed."""
    name = f"{Path(python).name} {end}"
    version = _version(python)
    if version is None:
        return Ran(name, "skipped", "no such interpreter on this machine")
    place = folder / re.sub(r"\W", "_", name)
    pins = folder / "pins.txt"
    pins.write_text("\n".join(_pins(end, asked.torch)) + "\n", encoding="utf-8")
    try:
        subprocess.run([python, "-m", "venv", place], check=True)
        own = next(place.glob("[bS][ic]*/python*"))
        if (reason := _without_torch(own, *_torch(end, asked.torch))) and not asked.cuda:
            return Ran(name, "skipped", f"Python {version}: {reason}")
        if not _says(own, *INSTALL, *_torch(end, asked.torch)) or not _says(
            own, *INSTALL, "-c", pins, f"{wheel}[test]"
        ):
            return Ran(name, "failed", "its versions cannot be installed together")
        if not _says(own, JOB, "this", place):
            return Ran(name, "failed", "the main job")
        good = _says(own, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu", *TESTS)
        return Ran(name, "passed" if good else "failed", f"Python {version}, {_installed(own)}")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _pins(end: str, torch: str) -> Iterator[str]:
    """Lines for pip's --constraint."""
    yield from _torch(end, torch)
    if end == "lowest":
        yield from (f"{name}=={bound}" for name, bound in bounds() if name != "torch")


def bounds() -> list[tuple[str, str]]:
    """Every dependency of the core and of the tests with its lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return [(found[1], found[2]) for text in wanted if (found := re.match(r"([\w-]+)>=([\d.]+)", text))]


def _torch(end: str, torch: str) -> list[str]:
    lowest = dict(bounds())["torch"]
    return [(f"torch=={lowest}.*" if end == "lowest" else "torch") if torch == "bound" else f"torch=={torch}"]


def _without_torch(python: Path, *wanted: str) -> str:
    """Why torch is not installed: the index has none for this Python, or one that brings gigabytes of CUDA. "" where it may be."""
    asking = [python, *INSTALL, "--dry-run", "--no-deps", "--report", "-", *wanted]
    done = subprocess.run(asking, capture_output=True, text=True)
    if done.returncode:
        return f"no {wanted[0]} from this index"
    needs = json.loads(done.stdout)["install"][0]["metadata"].get("requires_dist", [])
    return f"{wanted[0]} from this index comes with CUDA; --cuda installs it" if "nvidia" in " ".join(needs) else ""


def _says(python: Path, *words: object) -> bool:
    """Whether a command succeeds, outside of the sources, which would be imported otherwise."""
    told = [str(ROOT / str(word)) if str(word).startswith("tests/") else str(word) for word in words]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    print("$", Path(python).name, *told, flush=True)
    return subprocess.run([python, *told], cwd=python.parent, env=clean).returncode == 0


def _installed(python: Path) -> str:
    """The versions that decide most."""
    names = ("torch", "numpy", "pydantic", "typer")
    ask = (
        f"from importlib.metadata import version; print(*(f'{{name}} {{version(name)}}' for name in {names}), sep=', ')"
    )
    return subprocess.run([python, "-c", ask], capture_output=True, text=True).stdout.strip()


def _version(python: str) -> str | None:
    """Of an interpreter; None where there is none."""
    try:
        done = subprocess.run(
            [python, "-c", "import platform; print(platform.python_version())"], capture_output=True, text=True
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _wheel(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT], check=True)
    return next(folder.glob("vitrail-*.whl"))


def _asked() -> argparse.Namespace:
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", nargs="+", choices=("lowest", "newest"), default=["lowest", "newest"])
    parser.add_argument(
        "--torch", default=pinned["torch"], help="a version, or 'bound': as low or as new as the others"
    )
    own = [sys.executable, *(f"python3.{minor}" for minor in NEWER if sys.version_info[:2] != (3, minor))]
    parser.add_argument(
        "--cuda", action="store_true", help="install a torch that brings CUDA too, where there is no other"
    )
    parser.add_argument("--python", nargs="+", default=own, help="interpreters")
    parser.add_argument("--in", dest="folder", type=Path, help="where environments are made, 2 GB at a time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
