"""The command line's groups. The commands at the top are the files of this folder, imported only when they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer
from typer.core import TyperGroup

from vitrail import catalog
from vitrail.errors import UsageError

FOLDER = "cli"


class Commands(Mapping[str, Any]):
    """The top commands by name; looking one up imports its file."""

    def __getitem__(self, name: str) -> Any:
        if name not in catalog.names(FOLDER):
            raise KeyError(name)
        command = typer.main.get_command(catalog.find(FOLDER, name).app)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(catalog.names(FOLDER))

    def __len__(self) -> int:
        return len(catalog.names(FOLDER))

    def pop(self, name: str) -> Any:
        """A command, for callers who walk down; the folder keeps it."""
        return self[name]


class Choosing(TyperGroup):
    """A group that names the nearest command where it knows none of that name."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if not args[0].startswith("-") and args[0] not in self.commands:
            raise UsageError(f"unknown command '{args[0]}'{catalog.nearest(args[0], tuple(self.commands))}")
        return super().resolve_command(ctx, args)


class Group(Choosing):
    """The group at the top: its help reads the first lines of the commands' files instead of importing them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = Commands()  # type: ignore[assignment]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, catalog.summary(FOLDER, name)) for name in self.commands])
