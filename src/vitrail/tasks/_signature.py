"""What a task asks for, read off its signature: the single source of command-line flags and of request schemas."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Unpack, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from vitrail.errors import UsageError
from vitrail.tasks._parameters import Given

Task = Callable[..., Any]
REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One parameter of a task."""

    name: str
    annotation: Any  # with its constraints, as pydantic reads it
    default: Any  # REQUIRED where there is none
    description: str
    given: Given | None  # None: a plain value

    @property
    def plain(self) -> bool:
        return self.given is None

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


def parameters(task: Task) -> tuple[Parameter, ...]:
    """All parameters of a task, in order; `**name: Unpack[...]` stands for the entries of that TypedDict, None by default."""
    hints = get_type_hints(task, include_extras=True)
    entries = inspect.signature(task).parameters.values()
    return tuple(found for entry in entries for found in _parameters(entry, hints[entry.name]))


def checked(task: Task, values: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a call, text converted; what is None or absent takes the task's default.

    Raises UsageError with one line per mistake, each beginning with the parameter's flag.
    """
    given = {name: value for name, value in values.items() if value is not None}
    fields: dict[str, Any] = {
        each.name: (each.annotation, ... if each.required else each.default) for each in parameters(task) if each.plain
    }
    wanted = create_model("Values", __config__=ConfigDict(extra="forbid"), **fields)
    try:
        found = wanted.model_validate(given)
    except ValidationError as error:
        raise UsageError("\n".join(_line(mistake) for mistake in error.errors())) from None
    return {name: getattr(found, name) for name in fields}


def flag(name: str) -> str:
    """`--top-k` for the parameter top_k; a single letter gets one hyphen."""
    return f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"


def _parameters(entry: inspect.Parameter, hint: Any) -> Iterator[Parameter]:
    if get_origin(hint) is not Unpack:
        yield _parameter(entry, hint)
        return
    for name, inner in get_type_hints(get_args(hint)[0], include_extras=True).items():
        yield _parameter(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None), inner)


def _parameter(entry: inspect.Parameter, hint: Any) -> Parameter:
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    description = next((note.description for note in notes if isinstance(note, FieldInfo)), None) or ""
    given = next((note for note in notes if isinstance(note, Given)), None)
    return Parameter(entry.name, hint, entry.default, description, given)


def _line(mistake: Mapping[str, Any]) -> str:
    name, message = str(mistake["loc"][0]), str(mistake["msg"])
    if mistake["type"] == "missing":
        return f"{flag(name)} is missing"
    return f"{flag(name)}: {message[0].lower()}{message[1:]}, got {mistake['input']!r}"
