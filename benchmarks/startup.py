"""How long `import vitrail` and `vitrail --help` take in a fresh process, the interpreter's own start included.

    python benchmarks/startup.py [--rounds 10]

Bars: 0.3 s and 0.5 s. `python -c pass` stands beside them, since it is part of both.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

from measuring import environment, finish, interleaved, measured, options

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import vitrail": ["-c", "import vitrail"],
    "vitrail --help": ["-m", "vitrail", "--help"],
}
BARS = {"import vitrail": 0.3, "vitrail --help": 0.5}  # seconds


def seconds(arguments: list[str]) -> float:
    """Wall-clock time of one process. Raises CalledProcessError if it fails."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.perf_counter() - started


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="fresh processes of each kind")
    asked = parser.parse_args()
    for arguments in COMMANDS.values():
        seconds(arguments)  # fills the disk cache and writes bytecode
    found = interleaved(
        {name: partial(seconds, command) for name, command in COMMANDS.items()}, 2 if asked.quick else asked.rounds
    )
    figures = [
        measured(name, values, "s", **({"relation": "<=", "bar": BARS[name]} if name in BARS else {}))
        for name, values in found.items()
    ]
    finish("startup", figures, asked.quick)


if __name__ == "__main__":
    main()
