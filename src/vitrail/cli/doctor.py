"""Check the installation: versions, speed, disk, optional parts.

Exit code 1 if something is broken that vitrail cannot do without.

    vitrail doctor
    vitrail doctor --at runs/
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import torch
import typer
from torch.nn.functional import conv2d

from vitrail import durable, processor
from vitrail.cli._command import Answer, Table, single
from vitrail.metrics.protocol import installed_version

OLDEST_PYTHON = (3, 11)
CORE = ("torch", "numpy", "pydantic", "pyyaml", "safetensors", "pillow", "typer", "rich", "filelock", "scikit-learn")
EXTRA = re.compile(r"""^([\w.-]+).*\bextra *== *["']([\w-]+)["']""")  # package and extra in a line of the metadata
OURS = ("test", "bench", "docs", "lint")  # extras for work on vitrail itself, which users need not hear of
LITTLE = 5.0  # GiB of free disk below which a run may not fit
SLOW = 0.2  # seconds that a small write to the disk should not take
TIMED = 0.3  # seconds of timing per number format
TELLING = (
    "avx2",
    "avx512_f",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "neon",
    "sve",
    "bf16",
)  # features of x86 and of ARM

At = Annotated[Path, typer.Option("--at", metavar="DIR", help="folder whose disk is checked: where runs are to go")]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "note", "broken"]
    detail: str


def doctor(at: At = Path()) -> Answer:
    """Look at everything; takes a second or two."""
    found = [python(), *packages(), threads(), instructions(), formats(), arithmetic(), *disk(at), *extras()]
    broken = any(each.state == "broken" for each in found)
    rows = [(each.state, each.name, each.detail) for each in found]
    verdict = "broken: see above" if broken else "all that vitrail needs is there"
    facts = {"ok": not broken, "findings": [asdict(each) for each in found]}
    return Answer(facts, [Table((), rows), "", verdict], code=int(broken))


def python() -> Finding:
    """The interpreter."""
    old = sys.version_info < OLDEST_PYTHON
    return Finding("python", "broken" if old else "ok", f"{platform.python_version()} on {platform.platform()}")


def packages() -> Iterator[Finding]:
    """What vitrail cannot do without."""
    yield Finding("vitrail", "ok", installed_version())
    for name in CORE:
        version = _version(name)
        yield Finding(name, "ok" if version else "broken", version or f"missing: pip install {name}")


def threads() -> Finding:
    """Cores for this process, and whether others are at work on them."""
    cores, ask = processor.cores(), getattr(os, "getloadavg", None)
    load = ask()[0] if ask else None  # Windows keeps no average
    busy = load is not None and load > 0.5 * cores
    detail = f"{torch.get_num_threads()} threads on {cores} cores" + ("" if load is None else f", load {load:.1f}")
    return Finding("threads", "note" if busy else "ok", detail + ("; busy, so timings suffer" if busy else ""))


def instructions() -> Finding:
    """What the processor has beyond the ordinary, as far as it decides how fast training is."""
    has = processor.features()
    found = [name for name in TELLING if has.get(name)]
    return Finding(
        "processor", "ok", f"{platform.machine()} with {', '.join(found) or 'none of the features asked for'}"
    )


def formats() -> Finding:
    """How much faster bf16 is than fp32 here: training measures the same on its own network and takes the faster.

    Where bf16 is emulated nothing is measured: it would take seconds, and training takes fp32 without asking.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not processor.multiplies(torch.bfloat16):
        return Finding("bf16", "note", "this processor emulates bf16, many times slower than fp32: train in fp32")
    name = torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()
    x = torch.randn(32, 64, 28, 28, device=device).to(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3, device=device).to(memory_format=torch.channels_last)
    seconds = {
        kind: _seconds(partial(conv2d, x.to(kind), weight.to(kind), padding=1))
        for kind in (torch.float32, torch.bfloat16)
    }
    gain = seconds[torch.float32] / seconds[torch.bfloat16]
    state: Literal["ok", "note"] = "ok" if gain > 1 else "note"
    return Finding("bf16", state, f"{gain:.1f} times as fast as fp32 in a convolution on {device} ({name})")


def arithmetic() -> Finding:
    """Whether a gradient comes out right: a broken torch shows here."""
    x = torch.tensor([3.0], requires_grad=True)
    x.square().sum().backward()
    right = x.grad is not None and float(x.grad) == 6.0
    return Finding("gradients", "ok" if right else "broken", "right" if right else "wrong: install torch again")


def disk(at: Path) -> Iterator[Finding]:
    """Room, and the time of a write that survives a crash, which every checkpoint does."""
    place = next((each for each in (at.absolute(), *at.absolute().parents) if each.is_dir()), Path("/"))
    free = shutil.disk_usage(place).free / 2**30
    yield Finding("disk", "note" if free < LITTLE else "ok", f"{free:.1f} GiB free at {place}")
    try:
        with TemporaryDirectory(dir=place, prefix=".vitrail-doctor-") as folder:
            started = time.perf_counter()
            durable.write_file(Path(folder) / "probe", bytes(1 << 20), through=True)
            seconds = time.perf_counter() - started
    except OSError as error:
        yield Finding("writing", "broken", f"{place}: {error.strerror or error}; choose another folder with --at")
        return
    yield Finding("writing", "note" if seconds > SLOW else "ok", f"1 MiB reaches the disk in {1000 * seconds:.0f} ms")


def extras() -> Iterator[Finding]:
    """Optional parts, as the installed package declares them: there or not, both are fine."""
    for extra, names in _extras().items():
        missing = [name for name in names if not _version(name)]
        detail = f"pip install 'vitrail[{extra}]' for {', '.join(missing)}" if missing else ", ".join(names)
        yield Finding(f"extra {extra}", "note" if missing else "ok", detail)


def _extras() -> dict[str, list[str]]:
    """Packages by extra; none where vitrail runs from sources that were never installed."""
    try:
        required = metadata.requires("vitrail") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, list[str]] = {}
    for line in required:
        if (match := EXTRA.match(line)) and match[2] not in OURS:
            found.setdefault(match[2], []).append(match[1])
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _seconds(work: partial[torch.Tensor]) -> float:
    """Median time of one call."""
    work()
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < TIMED:
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


app = single(doctor, __doc__)
