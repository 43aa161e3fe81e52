"""What every benchmark shares: its options, interleaved rounds, and the table and JSON line that it ends with."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Literal

DATA = Path(os.environ.get("VITRAIL_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
BARS = {">=": float.__ge__, "<=": float.__le__, "==": float.__eq__}


@dataclass(frozen=True)
class Figure:
    """One measured number, and what it has to be."""

    name: str
    value: float  # the median where it was measured several times
    unit: str = ""
    spread: tuple[float, float] | None = None  # smallest and largest measured
    relation: Literal[">=", "<=", "=="] | None = None
    bar: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the bar is reached; a number without a bar always is."""
        return self.relation is None or bool(BARS[self.relation](float(self.value), float(self.bar or 0)))


def measured(name: str, values: Sequence[float], unit: str = "", **bar: Any) -> Figure:
    """A figure from repeated measurements: their median, with the smallest and the largest."""
    return Figure(name, median(values), unit, (min(values), max(values)), **bar)


def interleaved(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure every side in turn, `rounds` times, so that a disturbance of the machine hits all of them alike."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, measure in sides.items():
            values[name].append(measure())
            say(f"round {number + 1} of {rounds}  {name}  {values[name][-1]:.4g}")
    return values


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Round by round, how many times `others` the `values` are."""
    return [value / other for value, other in zip(values, others, strict=True)]


def options(module_doc: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark understands."""
    parser = argparse.ArgumentParser(description=module_doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it works; its numbers mean nothing")
    return parser


def finish(name: str, figures: Sequence[Figure], quick: bool, **told: Any) -> None:
    """Print the table and, as the last line, everything as JSON. Exits with 1 where a bar is missed, unless `quick`.

    A figure that has to equal its bar is a fact, not a speed: it counts in a quick run as well.
    """
    for figure in figures:
        print(_row(figure, judged=not quick or figure.relation == "=="))
    document = {
        "benchmark": name,
        "quick": quick,
        "figures": {figure.name: _printed(figure) for figure in figures},
        **told,
        "machine": machine(),
    }
    print(json.dumps(document), flush=True)
    judged = [figure for figure in figures if not quick or figure.relation == "=="]
    sys.exit(0 if all(figure.reached for figure in judged) else 1)


def skip(name: str, reason: str) -> None:
    """End without a measurement, which is not a failure."""
    print(f"{name} skipped: {reason}")
    print(json.dumps({"benchmark": name, "skipped": reason, "machine": machine()}), flush=True)
    sys.exit(0)


def machine() -> dict[str, Any]:
    """Hardware and versions that a figure belongs to, and how busy the machine is."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "vitrail": _version("vitrail"),
    }


def environment(threads: int = 1) -> dict[str, str]:
    """The environment of child processes: this one's, with a fixed number of threads."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def _row(figure: Figure, judged: bool) -> str:
    spread = f"({figure.spread[0]:.4g} to {figure.spread[1]:.4g})" if figure.spread else ""
    verdict = "" if not judged else "reached" if figure.reached else "MISSED"
    bar = f"{figure.relation} {figure.bar:g} {verdict}" if figure.relation else ""
    return f"{figure.name:44} {figure.value:>10.4g} {figure.unit:10} {spread:24} {bar}".rstrip()


def _printed(figure: Figure) -> dict[str, Any]:
    told = {key: value for key, value in asdict(figure).items() if key != "name" and value not in (None, "")}
    return {**told, "reached": figure.reached} if figure.relation else told


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
