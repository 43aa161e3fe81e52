"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Folder = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="folder for the pictures", show_default=False)
]
Resize = Annotated[
    bool, typer.Option("--resize", help="bring pictures to the size that the model was trained on, by its own policy")
]
NoMetadata = Annotated[
    bool, typer.Option("--no-metadata", help="leave recipe, fingerprint, seed and number out of the files")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change a field of the recipe; may be repeated")
]
