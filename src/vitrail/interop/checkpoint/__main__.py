"""`python -m vitrail.interop.checkpoint weights.pth weights.safetensors`."""

from __future__ import annotations

import sys
from pathlib import Path

from vitrail.errors import UsageError, VitrailError
from vitrail.interop.checkpoint import convert


def main(arguments: list[str]) -> int:
    """Convert a file; returns the exit code."""
    try:
        if len(arguments) != 2:
            raise UsageError("wants two arguments: the checkpoint and the .safetensors file to write")
        convert(Path(arguments[0]), Path(arguments[1]))
    except VitrailError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
