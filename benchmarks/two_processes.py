"""Two processes that train as one: the loss curve of one process with the same global batch, and equal weights on both.

    python benchmarks/two_processes.py [--steps 100] [--data digits]

Trains the `vqvae` recipe in float32 on one thread a process, once alone and once under `torch.distributed.run`, and
compares every step's loss. After each stage both ranks hash all their weights, the codebook among them: the ones that
were trained and their moving average. Bars: 1e-4 relative, and equal hashes. The prior trains without label dropout:
its draws belong to a process, so two of them drop other labels than one.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring import Figure, environment, finish, options

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
SETTINGS = {
    "prior.label_dropout": 0.0,
    "training.share": 0.5,
    "training.precision": "fp32",
    "training.threads": 1,
    "training.log": 1,
}
SMALL = {
    "network.widths": [8, 16],
    "bottleneck.size": 32,
    "prior.width": 32,
    "prior.depth": 1,
    "training.codec.batch": 32,
    "training.prior.batch": 32,
}
STAGES = ("codec", "prior")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=100, help="of each stage")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--work", type=Path, help="be one of the processes, in this folder")
    asked = parser.parse_args()
    if asked.work:
        work(asked.work, asked.data, asked.steps, SMALL if asked.quick else {})
        return
    steps = 10 if asked.quick else asked.steps
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one", Path(folder) / "two"
        for place, launcher in ((one, ()), (two, TORCHRUN)):
            place.mkdir()
            words = [
                "--work",
                str(place),
                "--steps",
                str(steps),
                "--data",
                asked.data,
                *(["--quick"] if asked.quick else []),
            ]
            subprocess.run([sys.executable, *launcher, __file__, *words], check=True, env=environment())
        figures = [*(curves(one, two, stage, steps) for stage in STAGES), *hashes(two)]
    finish("two_processes", figures, asked.quick, steps=steps, data=asked.data)


def curves(one: Path, two: Path, stage: str, steps: int) -> Figure:
    """The largest relative difference of a stage's loss at any step."""
    curve, other = losses(one, stage), losses(two, stage)
    assert len(curve) == len(other) == steps
    worst = max(abs(a - b) / abs(a) for a, b in zip(curve, other, strict=True))
    return Figure(f"{stage}: largest relative difference of the loss", worst, relation="<=", bar=1e-4)


def losses(place: Path, stage: str) -> list[float]:
    """The loss at every step."""
    lines = map(json.loads, (place / "run" / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["stage"] == stage]


def hashes(two: Path) -> list[Figure]:
    """How many hashes differ between the ranks."""
    first, second = (json.loads((two / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first.keys() == second.keys() == set(STAGES)
    counted = {stage: _differing(first[stage], second[stage]) for stage in STAGES}
    name = "{}: tensors that differ between ranks, of {}"
    return [Figure(name.format(stage, len(first[stage])), counted[stage], relation="==", bar=0) for stage in STAGES]


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> int:
    return sum(first.get(name) != second.get(name) for name in first.keys() | second.keys())


def work(place: Path, data: str, steps: int, small: Mapping[str, Any]) -> None:
    """Be one process: train, and write the hashes of every tensor by stage."""
    import vitrail
    from vitrail.training import loop

    found: dict[str, dict[str, str]] = {}
    run = loop.run

    def watched(job: Any, *rest: Any, **named: Any) -> Any:
        finished = run(job, *rest, **named)
        found[job.name] = {**hashed("trained", job.module), **hashed("average", finished.averaged)}
        return finished

    loop.run = watched
    settings = {**SETTINGS, **small}
    vitrail.train("vqvae", data=data, out=place / "run", budget=f"{2 * steps} steps", settings=settings, show=False)
    (place / f"rank{os.environ.get('RANK', 0)}.json").write_text(json.dumps(found))


def hashed(what: str, module: Any) -> dict[str, str]:
    """SHA-256 of every tensor of a module."""
    state = module.state_dict()
    return {
        f"{what}.{name}": hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in state.items()
    }


if __name__ == "__main__":
    main()
