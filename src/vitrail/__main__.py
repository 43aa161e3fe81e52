"""`python -m vitrail` and the `vitrail` command."""

from __future__ import annotations

import io
import sys

from vitrail.cli import run


def main() -> None:
    """Run the command line of this process and exit with its code.

    A letter that the terminal cannot show becomes its number: a console of Windows may know 256 letters only.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
