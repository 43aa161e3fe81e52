"""Run the benchmarks one after another, each in a process of its own, and keep what they found as JSON lines.

    python -m benchmarks [--quick] [--out runs/benchmarks.jsonl] [NAME ...]

Names are those of the files; without any, all that take minutes run. Those that train good models take half an
hour and more, and are run by name.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = (
    "startup",
    "train_speed",
    "kv_cache",
    "quantizers",
    "two_processes",
    "kill_and_resume",
    "interop",
    "sampler_overhead",
    "quantum_speed",
    "quantum_autoencoder",
    "step_efficiency",
)
LONG = (
    "main_job",
    "recipes",
    "collapse",
    "sharpness",
    "gans",
    "generation",
    "few_steps",
    "masked",
    "likelihood",
    "quantum",
    "quality_per_flop",
    "prior_per_flop",
)


def run(name: str, quick: bool) -> tuple[int, str]:
    """Run one benchmark, its output passed on; returns its exit code and its JSON line."""
    print(f"\n{name}", flush=True)
    command = [sys.executable, str(FOLDER / f"{name}.py"), *(["--quick"] if quick else [])]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        for line in child.stdout:
            last = line
            if not line.startswith("{"):
                print(line, end="", flush=True)
    return child.returncode, last if last.startswith("{") else ""


def main() -> None:
    """Run what was asked for; exits with 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join((*NAMES, *LONG))}; default: those that take minutes"
    )
    parser.add_argument("--quick", action="store_true", help="tiny, to see that all of them work")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks.jsonl"), help="where the JSON lines go")
    asked = parser.parse_args()
    if unknown := set(asked.names) - {*NAMES, *LONG}:
        parser.error(f"unknown benchmark '{min(unknown)}'; there is: {', '.join((*NAMES, *LONG))}")
    ended = {name: run(name, asked.quick) for name in asked.names or NAMES}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text("".join(line for _, line in ended.values()))
    missed = [name for name, (code, _) in ended.items() if code]
    print(
        f"\n{asked.out} holds the figures; "
        + (f"not reached: {', '.join(missed)}" if missed else "every bar is reached")
    )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
