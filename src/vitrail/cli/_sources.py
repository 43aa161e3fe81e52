"""Which data there is."""

from __future__ import annotations

from vitrail import catalog
from vitrail.cli._refusal import Mistakes
from vitrail.data.dataset import SOURCES
from vitrail.errors import DataError


def named() -> tuple[str, ...]:
    """Names of all sets that come by name."""
    kinds = [catalog.find(SOURCES, name) for name in catalog.names(SOURCES)]
    return tuple(sorted(name for kind in kinds for name in kind.NAMES))


def check(text: str | None, mistakes: Mistakes) -> None:
    """Note a source that is missing or that no kind of source accepts; nothing is opened."""
    if text is None:
        mistakes.add(f"--data is missing; give a folder of pictures, an .npz file, or one of {', '.join(named())}")
    elif not any(catalog.find(SOURCES, name).accepts(text) for name in catalog.names(SOURCES)):
        tail = catalog.nearest(text, named())
        mistakes.found.append(DataError(f"no data at '{text}': no such file, folder or named set{tail}"))
