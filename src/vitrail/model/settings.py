"""How samples are to be drawn: what the recipe says, and what the user says instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from vitrail import catalog
from vitrail.errors import UsageError
from vitrail.priors._prior import Prior, Settings


def chosen(config: Any, prior: Prior, given: Mapping[str, Any]) -> Settings:
    """The settings of a prior's Config with those given, of which None means not given.

    Where there is nothing to guide by, the recipe's guidance counts as none. Raises UsageError for a setting that the prior
    does not know, a value that it does not take, and for guidance that was given there.
    """
    default: Settings = config.sampling
    known = tuple(type(default).model_fields)
    wanted = {key: value for key, value in given.items() if value is not None}
    for key in wanted:
        if key not in known:
            raise UsageError(f"the {config.part()} prior has no setting '{key}'{catalog.nearest(key, known)}")
    try:
        made = type(default).model_validate({**default.model_dump(), **wanted})
    except ValidationError as error:
        raise UsageError(_told(error)) from None
    if _steerable(prior, made):
        return made
    if wanted.get("guidance", 1) != 1:
        raise UsageError(
            "nothing to guide by: this model's prior knows no classes and takes no condition; leave the guidance out"
        )
    return made.model_copy(update={"guidance": 1.0})


def _steerable(prior: Prior, settings: Settings) -> bool:
    """Whether guidance, where there is any, has something to lead towards or away from."""
    tree = settings.model_dump()
    return prior.steerable or tree.get("guidance", 1) == 1 or tree.get("reference") == "snapshot"


def _told(error: ValidationError) -> str:
    """The first mistake in one line."""
    found = error.errors()[0]
    message = found["msg"].removeprefix("Value error, ")
    got = f", got {found['input']!r}" if found["type"] != "value_error" else ""
    return f"{found['loc'][0]}: {message[0].lower()}{message[1:]}{got}"
