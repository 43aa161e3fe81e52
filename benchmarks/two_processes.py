"""Two processes that train as one: the loss curve of one process with the same global batch, and equal weights on both.

    python benchmarks/two_processes.py [--steps 100] [--data digits]

Trains in float32 on one thread a process, under `torch.distributed.run` and alone, and compares every step's loss. After
each stage both ranks hash all their weights, the codebook among them: the ones that were trained and their moving
average. Bars: 1e-4 relative, and equal hashes.

Alone, the batch is cut into two rounds, which is the arithmetic of two processes. Uncut, matrix products round otherwise
in the last bit; where the model is continuous that stays small, but a codebook turns it into another choice of code
here and there, and the curves of `vqvae` drift apart as two seeds would: that figure is shown without a bar.
The discriminators of `vqgan` and `gan` are hashed and compared likewise.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measuring import Figure, environment, finish, options

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
SETTINGS = {
    "training.share": 0.5,
    "training.precision": "fp32",
    "training.threads": 1,
    "training.log": 1,
}
SMALL: dict[str, dict[str, Any]] = {
    "vqvae": {"network.widths": [8, 16], "bottleneck.size": 32, "prior.width": 32, "prior.depth": 1},
    "autoencoder": {"network.widths": [8, 16]},
    "vqgan": {"network.widths": [8, 16], "bottleneck.size": 32, "discriminator.width": 8},
    "gan": {"network.widths": [16, 8], "discriminator.width": 8},
}
# A discriminator from the tenth step of a hundred on, which the decoder hears from the first step with it on.
GAME = {"adversarial.begin": 0.1, "weights.adversarial": 0.5}
ALWAYS: dict[str, dict[str, Any]] = {"vqgan": {"prior": None, **GAME}}
STAGES = {"vqvae": ("codec", "prior"), "autoencoder": ("codec",), "vqgan": ("codec",), "gan": ("codec",)}
ALONE = (  # recipe, rounds of the one process, bar
    ("vqvae", 2, 1e-4),
    ("vqvae", 1, None),
    ("autoencoder", 1, 1e-4),
    ("vqgan", 2, 1e-4),
    ("gan", 2, 1e-4),
)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--steps", type=int, default=100, help="of each stage")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--work", type=Path, help="be one of the processes, in this folder")
    parser.add_argument("--recipe", default="vqvae")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    if asked.work:
        work(asked)
        return
    steps = 10 if asked.quick else asked.steps
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for recipe in STAGES:
            launch(Path(folder) / recipe, recipe, 1, steps, asked, TORCHRUN)
            figures += hashes(Path(folder) / recipe, recipe)
        for recipe, rounds, bar in ALONE:
            one = Path(folder) / f"{recipe}-{rounds}"
            launch(one, recipe, rounds, steps, asked, ())
            figures += [curves(one, Path(folder) / recipe, recipe, stage, rounds, bar) for stage in STAGES[recipe]]
    finish("two_processes", figures, asked.quick, steps=steps, data=asked.data)


def launch(place: Path, recipe: str, rounds: int, steps: int, asked: Any, launcher: Sequence[str]) -> None:
    """Run this file as the one process or the two."""
    place.mkdir()
    words = ["--work", str(place), "--recipe", recipe, "--rounds", str(rounds), "--steps", str(steps)]
    words += ["--data", asked.data, *(["--quick"] if asked.quick else [])]
    subprocess.run([sys.executable, *launcher, __file__, *words], check=True, env=environment())


def curves(one: Path, two: Path, recipe: str, stage: str, rounds: int, bar: float | None) -> Figure:
    """The largest relative difference of a stage's loss at any step."""
    pairs = zip(losses(one, stage), losses(two, stage), strict=True)
    worst = max(abs(a - b) / abs(a) for a, b in pairs)
    cut = "uncut" if rounds == 1 else f"in {rounds} rounds"
    name = f"{recipe} {stage}: largest relative difference of the loss, one process {cut}"
    return Figure(name, worst, relation="<=" if bar else None, bar=bar)


def losses(place: Path, stage: str) -> list[float]:
    """The loss at every step."""
    lines = map(json.loads, (place / "run" / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["stage"] == stage]


def hashes(two: Path, recipe: str) -> list[Figure]:
    """How many hashes differ between the ranks."""
    first, second = (json.loads((two / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first.keys() == second.keys() == set(STAGES[recipe])
    counted = {stage: _differing(first[stage], second[stage]) for stage in first}
    name = "{} {}: tensors that differ between ranks, of {}"
    return [Figure(name.format(recipe, each, len(first[each])), counted[each], relation="==", bar=0) for each in first]


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> int:
    return sum(first.get(name) != second.get(name) for name in first.keys() | second.keys())


def work(asked: Any) -> None:
    """Be one process: train, and write the hashes of every tensor by stage."""
    import vitrail
    from vitrail.training import loop

    found: dict[str, dict[str, str]] = {}
    run = loop.run

    def watched(job: Any, *rest: Any, **named: Any) -> Any:
        finished = run(job, *rest, **named)
        found[job.name] = {**hashed("trained", job.module), **hashed("average", finished.averaged)}
        if job.rival is not None:
            found[job.name] |= hashed("rival", job.rival.module)
        return finished

    loop.run = watched
    stages = STAGES[asked.recipe]
    rounds = {f"training.{stage}.accumulate": asked.rounds for stage in stages}
    always = {**SETTINGS, **ALWAYS.get(asked.recipe, {})}
    settings = {**always, **rounds, **(SMALL[asked.recipe] if asked.quick else {})}
    steps = f"{len(stages) * asked.steps} steps"
    vitrail.train(asked.recipe, data=asked.data, out=asked.work / "run", budget=steps, settings=settings, show=False)
    (asked.work / f"rank{os.environ.get('RANK', 0)}.json").write_text(json.dumps(found))


def hashed(what: str, module: Any) -> dict[str, str]:
    """SHA-256 of every tensor of a module."""
    state = module.state_dict()
    return {
        f"{what}.{name}": hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in state.items()
    }


if __name__ == "__main__":
    main()
