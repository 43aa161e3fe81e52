"""What all commands share: an answer, printed for a person or with --json for a program."""

from __future__ import annotations

import functools
import inspect
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from vitrail.cli import _output
from vitrail.cli._group import Choosing
from vitrail.cli._refusal import first_process

JSON = Annotated[
    bool, typer.Option("--json", help="print one JSON object on standard output, messages on standard error")
]
SETTINGS: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}


@dataclass(frozen=True)
class Table:
    """Rows under headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Answer:
    """What a command found or made."""

    facts: Mapping[str, Any]  # as JSON
    told: Sequence[str | Table] = field(default=())  # to a person
    code: int = 0


Command = Callable[..., Answer]


def single(command: Command, help: str) -> typer.Typer:
    """A command from a function that returns an Answer; the flag --json is added. `help`: docstring of the command's file."""
    app = typer.Typer(**SETTINGS)
    app.command(help=unwrapped(help))(printing(command))
    return app


def group(help: str, **commands: Command) -> typer.Typer:
    """A command of several; help of each is the docstring of its function."""
    app = typer.Typer(cls=Choosing, help=unwrapped(help), **SETTINGS)
    app.callback()(lambda: None)
    for name, command in commands.items():
        app.command(name, help=unwrapped(inspect.getdoc(command) or ""))(printing(command))
    return app


def listing(help: str, default: Command, **commands: Command) -> typer.Typer:
    """A group that does something by itself too: `default`, a function without arguments."""
    app = group(help, **commands)
    shown = printing(default)

    def alone(context: typer.Context, json: JSON = False) -> int:
        return 0 if context.invoked_subcommand else shown(json=json)

    sign(alone, parameters(alone))
    app.callback(invoke_without_command=True)(alone)
    return app


def printing(command: Command) -> Callable[..., int]:
    """The function that the parser calls: it looks where is written to, prints the answer and returns the exit code."""

    entries = parameters(command)

    @functools.wraps(command)
    def printed(*, json: bool, **values: Any) -> int:
        with redirect_stdout(sys.stderr) if json else nullcontext():
            _output.guard(entries, values)
            answer = command(**values)
        if first_process():
            _print_json(answer.facts) if json else _print(answer.told)
        return answer.code

    flag = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JSON)
    sign(printed, [*entries, flag])
    return printed


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Parameters with their annotations as objects."""
    return list(inspect.signature(function, eval_str=True).parameters.values())


def sign(function: Callable[..., Any], entries: Sequence[inspect.Parameter]) -> None:
    """Give a function that takes keywords the signature that the parser is to read."""
    keywords = [entry.replace(kind=inspect.Parameter.KEYWORD_ONLY) for entry in entries]
    function.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    function.__annotations__ = {entry.name: entry.annotation for entry in entries}


def unwrapped(text: str) -> str:
    """Help whose indented examples keep their line breaks (the parser's mark for that is a backspace)."""
    blocks = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(f"\b\n{block}" if block.startswith(" ") else block for block in blocks)


def _print_json(facts: Mapping[str, Any]) -> None:
    print(json.dumps(as_json(facts)), flush=True)


def as_json(value: Any) -> Any:
    """The value in JSON's terms: paths as text, what is not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _print(told: Sequence[str | Table]) -> None:
    for each in told:
        print(each if isinstance(each, str) else _rows(each), flush=True)


def _rows(table: Table) -> str:
    """Columns aligned; numbers are expected to be formatted already."""
    rows = [tuple(table.headings), *table.rows] if table.headings else list(table.rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
