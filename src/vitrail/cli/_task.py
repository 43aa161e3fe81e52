"""Commands made from tasks: the task's signature gives the arguments and flags, the command's file says what is written."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from vitrail.cli._command import Answer, parameters, sign, single
from vitrail.cli._refusal import Mistakes
from vitrail.errors import UsageError
from vitrail.model import folder
from vitrail.model.model import Model
from vitrail.tasks import _signature as signature
from vitrail.tasks._signature import Parameter, Task

METAVARS = {
    "run": "RUN",
    "pictures": "INPUT",
    "picture": "PICTURE",
    "latents": "FILE",
    "source": "SOURCE",
    "feature net": "FEATURES",
}
ARGUMENTS = ("run", "pictures", "latents")  # what is positional
KEYWORD = inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True)
class Request:
    """One call of a task from the command line."""

    model: Model
    run: Path  # as the user wrote it
    values: dict[str, Any]  # of the plain parameters, checked
    texts: dict[str, str | None]  # what stands for the others, by what it is: "pictures", "latents", "source" ...


Handler = Callable[..., Answer]


def command(task: Task, handler: Handler, help: str) -> typer.Typer:
    """The command of a task. `handler(request, **options)` declares further options, such as `out`, in its own signature."""
    asked = [each for each in signature.parameters(task) if each.given is None or each.given.by != "nothing"]
    options = parameters(handler)[1:]

    def call(**given: Any) -> Answer:
        request = _request(task, asked, given)
        return handler(request, **{entry.name: given[entry.name] for entry in options})

    positional = [_argument(each) for each in asked if each.given and each.given.by in ARGUMENTS]
    flags = [_option(each) for each in asked if not each.given or each.given.by not in ARGUMENTS]
    sign(call, [*positional, *flags, *options])
    return single(call, help)


def _request(task: Task, asked: list[Parameter], given: dict[str, Any]) -> Request:
    texts: dict[str, Any] = {each.given.by: given[each.name] for each in asked if each.given}
    with Mistakes() as mistakes:
        values: dict[str, Any] = {}
        with mistakes.noted():
            values = signature.checked(task, {each.name: given[each.name] for each in asked if each.plain})
        if "out" in given and given["out"] is None:
            mistakes.add("--out is missing; it names what is written")
    run = Path(texts.pop("run") or "")
    return Request(folder.load(run), run, values, texts)


def _argument(parameter: Parameter) -> inspect.Parameter:
    assert parameter.given is not None
    name = METAVARS[parameter.given.by]
    info = typer.Argument(metavar=name, help=parameter.description, show_default=False)
    kind = str if parameter.required else str | None
    default = inspect.Parameter.empty if parameter.required else None
    return inspect.Parameter(parameter.name, KEYWORD, default=default, annotation=Annotated[kind, info])


def _option(parameter: Parameter) -> inspect.Parameter:
    """A flag. Its text is judged by the task's own annotation, all flags at once, so the parser takes any."""
    bare = _bare(parameter)
    kind: Any = bool if bare is bool else list[str] if get_origin(bare) is dict else str
    default = None if parameter.required or parameter.default is None else kind(parameter.default)
    info = typer.Option(*_names(parameter.name), metavar=_metavar(parameter), help=parameter.description)
    return inspect.Parameter(parameter.name, KEYWORD, default=default, annotation=Annotated[kind | None, info])


def _names(name: str) -> tuple[str, ...]:
    flag = signature.flag(name)
    return (flag, f"-{flag}") if len(name) == 1 else (flag,)


def _metavar(parameter: Parameter) -> str | None:
    if parameter.given is not None:
        return METAVARS[parameter.given.by]
    bare = _bare(parameter)
    if get_origin(bare) is Literal:
        return "|".join(map(str, get_args(bare)))
    if get_origin(bare) is tuple:
        return "HxW"
    if get_origin(bare) is dict:
        return "KEY=VALUE"
    return {int: "NUMBER", float: "NUMBER", bool: None}.get(bare, "TEXT")


def _bare(parameter: Parameter) -> Any:
    """The type without notes and without None; of several the first."""
    kind = parameter.annotation
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Literal, tuple, dict) or not get_args(kind):
        return kind
    several = [each for each in get_args(kind) if each is not type(None)]
    return several[0] if len(several) == 1 else str


def needed(text: str | None, what: str) -> str:
    """A text that must be there. Raises UsageError."""
    if text is None:
        raise UsageError(f"{what} is missing")
    return text
