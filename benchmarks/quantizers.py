"""One training step of a vector quantizer alone, ours against vector-quantize-pytorch: time, and memory beyond its own weights.

    python benchmarks/quantizers.py [--rounds 3] [--threads 2]

A step is forward, backward, statistics and the update of the codebook, on the same vectors with the same settings: running means,
no k-means, no revival. Sides take turns in one process; memory is measured in a process of its own for each side, as the highest
resident size during three steps less that before them. The last rows time the search alone against faiss's exact flat search.
Needs: pip install vector-quantize-pytorch faiss-cpu
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from measuring import Figure, environment, finish, interleaved, measured, options, ratios, skip
from torch import Tensor

CASES = ((8192, 32, 16384), (65536, 16, 8192))  # K, D, N
LARGE = (262144, 16, 8192)
TINY = ((64, 8, 128),)
MIB = 1 << 20
Step = Callable[[], float]


def main() -> None:
    asked = _asked()
    if asked.memory:
        print(json.dumps(memory_of(asked.memory, tuple(asked.case))))
        return
    missing = [name for name in ("vector_quantize_pytorch", "faiss") if importlib.util.find_spec(name) is None]
    if missing:
        skip("quantizers", f"needs {', '.join(missing)}: pip install vector-quantize-pytorch faiss-cpu")
    torch.set_num_threads(asked.threads)
    cases = TINY if asked.quick else CASES
    figures = [figure for case in cases for figure in compared(case, asked.rounds)]
    large = TINY[0] if asked.quick else LARGE
    figures.append(Figure(f"{_named(large)}: our extra memory", _memory("ours", large), "MiB", relation="<=", bar=1024))
    finish("quantizers", figures, asked.quick, rounds=asked.rounds, threads=asked.threads)


def compared(case: tuple[int, int, int], rounds: int) -> list[Figure]:
    """Gains in time and memory of one size, and the search against faiss."""
    name, steps = _named(case), {side: SIDES[side](case) for side in SIDES}
    for step in steps.values():
        step()
    times = interleaved(steps, rounds)
    memory = {side: max(_memory(side, case), 0.1) for side in SIDES}
    search = interleaved(searches(case), 5 * rounds)
    return [
        measured(f"{name}: their step", times["theirs"], "s"),
        measured(f"{name}: our step", times["ours"], "s"),
        measured(f"{name}: gain in time", ratios(times["theirs"], times["ours"]), "x", relation=">=", bar=20),
        Figure(f"{name}: their extra memory", memory["theirs"], "MiB"),
        Figure(f"{name}: our extra memory", memory["ours"], "MiB"),
        Figure(f"{name}: gain in memory", memory["theirs"] / memory["ours"], "x", relation=">=", bar=20),
        measured(f"{name}: faiss's exact search", search["faiss"], "s"),
        measured(f"{name}: our search", search["ours"], "s"),
        measured(f"{name}: search over faiss's", ratios(search["ours"], search["faiss"]), "x", relation="<=", bar=1.2),
    ]


def ours(case: tuple[int, int, int]) -> Step:
    from vitrail.bottlenecks._codebook import Codebook, Learning, passed

    size, channels, count = case
    settings = Learning(decay=0.99, revive=0.0)
    book = Codebook(size, channels, settings)
    book.put(torch.arange(size), _cloud(size, channels, 1), torch.ones(size))
    book.steps += 1

    def step() -> float:
        vectors = _cloud(count, channels, 2).requires_grad_()
        began = perf_counter()
        _, values = book(vectors)
        terms = book.terms(vectors, values)
        (passed(vectors, values, settings).sum() + terms["commitment"]).backward()
        book.after_step()
        return perf_counter() - began

    return step


def theirs(case: tuple[int, int, int]) -> Step:
    from vector_quantize_pytorch import VectorQuantize

    size, channels, count = case
    book = VectorQuantize(
        channels, size, decay=0.99, kmeans_init=False, threshold_ema_dead_code=0, rotation_trick=False
    )
    book._codebook.embed.copy_(_cloud(size, channels, 1)[None])
    book._codebook.embed_avg.copy_(book._codebook.embed)

    def step() -> float:
        vectors = _cloud(count, channels, 2)[None].requires_grad_()
        began = perf_counter()
        values, _, commitment = book(vectors)
        (values.sum() + commitment.sum()).backward()
        return perf_counter() - began

    return step


SIDES: dict[str, Callable[[tuple[int, int, int]], Step]] = {"theirs": theirs, "ours": ours}


def searches(case: tuple[int, int, int]) -> dict[str, Step]:
    """The search for the nearest code alone; both must find the same codes but for ties in the last bits."""
    import faiss

    from vitrail.bottlenecks._nearest import nearest

    size, channels, count = case
    faiss.omp_set_num_threads(torch.get_num_threads())
    vectors, codes = _cloud(count, channels, 2), _cloud(size, channels, 1)
    found = torch.from_numpy(faiss.knn(vectors.numpy(), codes.numpy(), 1)[1][:, 0])
    assert (found == nearest(vectors, codes)).float().mean() > 0.999
    return {
        "faiss": _timed(lambda: faiss.knn(vectors.numpy(), codes.numpy(), 1)),
        "ours": _timed(lambda: nearest(vectors, codes)),
    }


def memory_of(side: str, case: tuple[int, int, int]) -> float:
    """MiB that three steps need beyond what is resident before them; what libraries need once is spent on a tiny step."""
    torch.set_num_threads(2)
    SIDES[side](TINY[0])()
    step = SIDES[side](case)
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest resident size so far
    before = _status("VmRSS")
    for _ in range(3):
        step()
    return (_status("VmHWM") - before) / MIB


def _memory(side: str, case: tuple[int, int, int]) -> float:
    command = [sys.executable, __file__, "--memory", side, "--case", *map(str, case)]
    child = subprocess.run(command, env=environment(2), capture_output=True, text=True, check=True)
    return float(json.loads(child.stdout))


def _status(field: str) -> int:
    """A size of this process in bytes, from Linux."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _timed(function: Callable[[], Any]) -> Step:
    def timed() -> float:
        began = perf_counter()
        function()
        return perf_counter() - began

    return timed


def _cloud(count: int, channels: int, seed: int) -> Tensor:
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(seed))


def _named(case: tuple[int, int, int]) -> str:
    return f"K={case[0]:,} D={case[1]} N={case[2]:,}"


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", choices=tuple(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--case", type=int, nargs=3, default=TINY[0], help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
