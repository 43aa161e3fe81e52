"""The README's first command, `make demo`: how long it takes, and what a classifier of real data makes of its samples.

    python benchmarks/demo.py [--isa AVX2] [--busy] [--crippled]

Runs `make demo` in this checkout with a run folder of its own, its environment already made, and judges 1,000 samples by a
classifier that was trained on the demo's own set. `--isa AVX2` runs as without AVX-512 and bf16, `--busy` keeps one core
at work meanwhile. `--crippled` gives the prior a learning rate that moves nothing: `make demo` then has to fail, in one
line that names the cause. The grid's path is printed: look at it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measuring import Figure, finish, options, say

ROOT = Path(__file__).parents[1]
PLAIN = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
SPIN = "while True: pass"
CRIPPLED = "--set training.prior.lr=1e-8"


def main() -> None:
    asked = _asked()
    shutil.rmtree(asked.run, ignore_errors=True)
    environment = {**os.environ, **(PLAIN if asked.isa else {})}
    words = ["make", "demo", f"RUN={asked.run}", *([f"BUDGET={asked.budget}"] if asked.budget else [])]
    words += [f"SETTINGS={CRIPPLED if asked.crippled else asked.settings}"]
    with busy(asked.busy):
        started = time.perf_counter()
        child = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - started
    say(child.stdout + child.stderr)
    told = {"isa": asked.isa, "busy": asked.busy, "crippled": asked.crippled}
    if asked.crippled:
        lines = [line for line in child.stderr.splitlines() if "has not learnt" in line]
        finish(
            "demo",
            [Figure("fails", float(child.returncode != 0), relation="==", bar=1), said(lines)],
            asked.quick,
            **told,
        )
    if child.returncode:
        sys.exit(f"make demo failed with {child.returncode}")
    finish("demo", [Figure("seconds", seconds, "s", relation="<=", bar=150), *judged(asked)], asked.quick, **told)


def judged(asked: argparse.Namespace) -> list[Figure]:
    """What the classifier says to the samples, how many are copies, and how long each part took."""
    net = asked.out / "judge"
    if not (net / "config.json").exists():
        vitrail("features", "train", "--data", source(asked.run), "--out", str(net), "--budget", asked.judge_budget)
    out = asked.out / "evaluation.json"
    vitrail("evaluate", str(asked.run), "--features", str(net), "--samples", str(asked.samples), "--out", str(out))
    scores = {score["metric"]: score["value"] for score in json.loads(out.read_text())["scores"]}
    bars = {"recognised": {"relation": ">=", "bar": 0.6}}
    figures = [Figure(name, value, **bars.get(name, {})) for name, value in scores.items()]
    for stage in ("codec", "prior"):
        last = [line for line in lines(asked.run / "metrics.jsonl") if line["stage"] == stage][-1]
        figures += [Figure(f"{stage}: steps", last["step"]), Figure(f"{stage}: images", last["images"])]
        newest = max((asked.run / "checkpoints").glob(f"{stage}_step_*"))
        trial = json.loads((newest / "state.json").read_text())["state"]["precision"]["trial"]
        figures.append(Figure(f"{stage}: trial of precision", trial, "s"))
    say(str(max((asked.run / "samples").glob("prior_step_*.png"))))
    return figures


def said(found: list[str]) -> Figure:
    """Whether one line names the cause."""
    return Figure(
        "one line names the cause", float(len(found) == 1 and "training.prior.lr" in found[0]), relation="==", bar=1
    )


def source(run: Path) -> str:
    """The demo's own data."""
    return str(json.loads((run / "recipe.json").read_text())["data"]["source"])


def lines(path: Path) -> list[dict[str, object]]:
    """A log's lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


@contextmanager
def busy(wanted: bool) -> Iterator[None]:
    """Another program at work on one core inside the block."""
    other = subprocess.Popen([sys.executable, "-c", SPIN]) if wanted else None
    try:
        yield
    finally:
        if other is not None:
            other.kill()
            other.wait()


def vitrail(*words: str) -> None:
    """Run a command. Raises CalledProcessError."""
    say(f"$ vitrail {' '.join(words)}")
    subprocess.run([sys.executable, "-m", "vitrail", *words], check=True)


def _asked() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--isa", choices=["AVX2"], help="run without the instructions that newer processors have")
    parser.add_argument("--busy", action="store_true", help="keep one core at work meanwhile")
    parser.add_argument("--crippled", action="store_true", help="see that a prior that learns nothing is an error")
    parser.add_argument("--budget", help="default: the demo's own")
    parser.add_argument("--settings", default="", help="words added to the demo's `vitrail train`")
    parser.add_argument("--samples", type=int, default=1000, help="that are drawn and judged")
    parser.add_argument("--judge-budget", default="2min", help="of the classifier")
    parser.add_argument("--out", type=Path, default=Path("runs/demo_bench"))
    asked = parser.parse_args()
    if asked.quick:
        asked.budget, asked.samples, asked.judge_budget = asked.budget or "400 steps", 64, "10 steps"
    asked.out = asked.out.absolute()
    asked.run = asked.out / "run"
    return asked


if __name__ == "__main__":
    main()
