"""One file per command: parse, call, print.

Imports everything below it; nothing imports it but __main__.
"""

from __future__ import annotations

import typer

from vitrail.cli._group import Group
from vitrail.cli._refusal import run

__all__ = ["app", "run"]

app = typer.Typer(cls=Group, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def _vitrail() -> None:
    """Train learned codecs and the priors in their latent space, and use them.

    `vitrail COMMAND --help` explains a command.

    Exit codes: 0 done, 1 failed, 2 usage, 3 data, 4 model refused, 5 training interrupted and resumable. With --json
    a refusal is an object on standard output too. VITRAIL_DEBUG=1 shows where an error came from.
    """
