"""From errors to exit codes: one line per mistake on standard error, never a traceback for a user's mistake."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import typer

from vitrail.errors import DataError, UsageError, VitrailError

BROKEN_PIPE = 141  # 128 + SIGPIPE, as the shell reports it


def run(words: Sequence[str]) -> int:
    """Run a command line given as words; returns the exit code.

    0 done · 1 failed · 2 usage · 3 data · 4 refused model · 5 interrupted, resumable ·
    6 not learnt, where that was asked for · 130 interrupted by hand.
    With --json a refusal is also an object on standard output: {"error": {"kind", "exit_code", "messages"}}.
    """
    from vitrail.cli import app

    _show_remarks()
    try:
        command = typer.main.get_command(app)
        code = command.main(list(words) or ["--help"], prog_name="vitrail", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (VitrailError, typer.TyperException, OSError, MemoryError, RuntimeError) as error:
        bug = isinstance(error, RuntimeError) and not _out_of_memory(error)
        if bug or os.environ.get("VITRAIL_DEBUG") == "1":
            raise
        return _refused(error, "--json" in words)


def _show_remarks() -> None:
    """Print what vitrail says by the way to standard error, as warnings are."""
    logging.getLogger("vitrail").setLevel(logging.INFO)
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.INFO)


class Mistakes:
    """Collects the mistakes of one command, so that all are reported at once."""

    def __init__(self) -> None:
        self.found: list[VitrailError] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note a refusal inside the block and go on behind it."""
        try:
            yield
        except (UsageError, DataError) as error:
            self.found.append(error)

    def add(self, message: str) -> None:
        """Note a mistake of usage."""
        self.found.append(UsageError(message))

    def refuse(self) -> None:
        """Raise what was noted as one error: of usage if any is."""
        if not self.found:
            return
        kinds = [type(error) for error in self.found]
        raise (UsageError if UsageError in kinds else kinds[0])("\n".join(str(error) for error in self.found))

    def __enter__(self) -> Mistakes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.refuse()


def _refused(error: Exception, as_json: bool) -> int:
    if isinstance(error, BrokenPipeError) or getattr(error, "errno", None) == errno.EPIPE:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - else the interpreter complains while it shuts down
        return BROKEN_PIPE
    lines, code = _lines(error), getattr(error, "exit_code", 1)
    if first_process():
        if as_json:
            told: dict[str, Any] = {"kind": _kind(error), "exit_code": code, "messages": lines}
            print(json.dumps({"error": told}), flush=True)
        for line in lines:
            print(f"vitrail: {line}", file=sys.stderr)
    return int(code)


def first_process() -> bool:
    """Whether this is the process that speaks: torchrun starts several."""
    return os.environ.get("RANK", "0") == "0"


def _kind(error: Exception) -> str:
    return "UsageError" if isinstance(error, typer.TyperException) else type(error).__name__


def _lines(error: Exception) -> list[str]:
    if isinstance(error, typer.TyperException):
        return [_plainer(error)]
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return [f"{where}{error.strerror or error}"]
    if isinstance(error, MemoryError | RuntimeError):
        return ["out of memory; give smaller pictures (--resize) or a smaller batch"]
    return str(error).splitlines()


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not allocate: it has an exception of its own for that on GPUs only."""
    return "out of memory" in str(error) or "can't allocate memory" in str(error)


def _plainer(error: typer.TyperException) -> str:
    """The parser's message in our style: no capital, no full stop, and where to read on."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    hint = f"; see {context.command_path} --help" if context is not None else ""
    return f"{message[:1].lower()}{message[1:]}{hint}"
