"""What the processor of this machine offers: how many cores, and which number formats it multiplies natively.

Everything is asked of the hardware and the system, nothing is timed. No call here exists on one system only.
"""

from __future__ import annotations

import os
import platform
import time

import psutil
import torch

NARROW_ISA = (
    "SSE41",
    "AVX",
    "AVX2",
    "AVX2_VNNI",
    "AVX512_CORE",
    "AVX512_CORE_VNNI",
)  # of oneDNN, without bf16 products


def cores() -> int:
    """Cores that this process may use; all of the machine where the system does not say (macOS, Windows)."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def others(seconds: float = 0.2) -> float:
    """Cores that other programs keep busy, of those this process may use, watched for so many seconds; 0 where it is not told."""
    watch = Watch()
    time.sleep(seconds)
    return watch.others()


class Watch:
    """Counts from its making on what others take of the cores."""

    def __init__(self) -> None:
        self.started, self.busy, self.own = time.monotonic(), _busy(), _own()

    def others(self) -> float:
        """Cores that other programs kept busy since then, on average."""
        passed = time.monotonic() - self.started
        return max(0.0, (_busy() - self.busy) - (_own() - self.own)) / passed if passed > 0 else 0.0


def _busy() -> float:
    """Seconds that the cores of this process were at work."""
    affinity = getattr(os, "sched_getaffinity", None)
    times = psutil.cpu_times(percpu=True)
    mine = [times[core] for core in affinity(0) if core < len(times)] if affinity else times
    return sum(sum(core) - core.idle - getattr(core, "iowait", 0.0) - getattr(core, "guest", 0.0) for core in mine)


def _own() -> float:
    """Seconds that this process and those it started were at work."""
    process = psutil.Process()
    times = [process.cpu_times(), *(child.cpu_times() for child in _children(process))]
    ended = times[0]
    return sum(each.user + each.system for each in times) + ended.children_user + ended.children_system


def _children(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if child.is_running()]


def multiplies(dtype: torch.dtype) -> bool:
    """Whether matrix products in bfloat16 or float16 run on units made for them; elsewhere they are emulated, 10 to 40x slower.

    float32 and float64 always do. `ONEDNN_MAX_CPU_ISA` and `ATEN_CPU_CAPABILITY` count, as they do for the products themselves.
    """
    if dtype not in (torch.bfloat16, torch.float16):
        return True
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in NARROW_ISA:
        return False
    name = "bf16" if dtype is torch.bfloat16 else "fp16"
    ask = getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", None)
    if ask is None or not ask():  # torch for macOS is built without oneDNN
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True  # on ARM torch asked for the instructions themselves
    # On x86 torch asks for AVX-512 alone, with which oneDNN emulates.
    return any(features().get(f"{unit}_{name}", False) for unit in ("amx", "avx512"))


def features() -> dict[str, bool]:
    """Instruction sets by name, as torch found them; empty where it does not tell."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    if tell is not None:
        return {name: value for name, value in tell().items() if isinstance(value, bool)}
    asked = {
        name: getattr(torch.cpu, f"_is_{name}_supported", None)
        for name in ("avx2", "avx512", "avx512_bf16", "amx_tile")
    }
    found = {name: bool(ask()) for name, ask in asked.items() if ask is not None}
    return found | {"amx_bf16": found.get("amx_tile", False)}  # torch before 2.11 names the tiles alone
