"""The command line as a whole: found by the folder, explained, quick to start."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer

from vitrail import catalog
from vitrail.cli import app
from vitrail.tasks import _signature as signature

Vitrail = Callable[..., Any]  # the fixture of conftest.py

COMMANDS = typer.main.get_command(app).commands
MADE_FROM_TASKS = sorted(set(catalog.names("cli")) & set(catalog.names("tasks")))


def test_every_task_has_a_command() -> None:
    assert list(catalog.names("tasks")) == MADE_FROM_TASKS


@pytest.mark.parametrize("name", MADE_FROM_TASKS)
def test_flags_are_the_tasks_parameters(name: str) -> None:
    task = getattr(catalog.find("tasks", name), name.replace("-", "_"))
    words = {word: entry for entry in COMMANDS[name].params for word in entry.opts}
    for each in signature.parameters(task):
        if each.given is not None and each.given.by == "nothing":
            continue
        positional = each.given is not None and each.given.by in ("run", "pictures", "latents")
        entry = words[each.name if positional else signature.flag(each.name)]
        assert entry.help == each.description


@pytest.mark.parametrize("name", catalog.names("cli"))
def test_help_explains_with_an_example(vitrail: Vitrail, name: str) -> None:
    ran = vitrail(name, "--help")
    assert ran.code == 0
    assert f"vitrail {name}" in ran.out.partition("Options:")[0].partition("\n")[2]
    for command in [COMMANDS[name], *getattr(COMMANDS[name], "commands", {}).values()]:
        assert [entry.name for entry in command.params if not entry.help and entry.name != "help"] == []


@pytest.mark.parametrize("name", catalog.names("cli"))
def test_every_command_prints_json(name: str) -> None:
    command = COMMANDS[name]
    leaves = list(getattr(command, "commands", {}).values()) or [command]
    assert all("--json" in [word for entry in leaf.params for word in entry.opts] for leaf in leaves)


def test_the_first_line_of_a_command_fits_a_line() -> None:
    assert [name for name in catalog.names("cli") if len(catalog.summary("cli", name)) > 66] == []


def test_help_lists_commands_without_importing_them() -> None:
    heavy = {"torch", "numpy", "pydantic"}
    code = f"import sys; from vitrail.cli import run; run(['--help']); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name in catalog.names("cli"):
        assert f"  {name}" in done.stdout


def test_no_arguments_mean_help(vitrail: Vitrail) -> None:
    assert vitrail().out == vitrail("--help").out


def test_commands_read_only_what_their_handlers_declare() -> None:
    for name in MADE_FROM_TASKS:
        handler = catalog.find("cli", name).write
        assert next(iter(inspect.signature(handler).parameters)) == "request"
