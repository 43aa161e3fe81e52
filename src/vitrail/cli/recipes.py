"""List what can be trained, or show every field of a recipe.

vitrail recipes
vitrail recipes show vqvae
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from pydantic import BaseModel

from vitrail import catalog
from vitrail.cli._command import Answer, Table, listing

WHICH = (
    "Which to take: with minutes or few pictures `vqvae`; with ten minutes and thousands of pictures `latent-diffusion` as well;\n"
    "to look at latents `vae`; for a baseline `autoencoder`. After nine minutes on two cores with 20,000 pictures of CIFAR-10,\n"
    "70 % of `vqvae`'s samples are recognised and 63 % of `latent-diffusion`'s. `vitrail train ... --dry-run` tells what a\n"
    "budget buys on this machine."
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="name of a recipe")]


def every() -> Answer:
    """List the recipes."""
    names = catalog.names("recipes")
    lines = {name: catalog.summary("recipes", name) for name in names}
    measured = {name: found for name in names if (found := catalog.expected("recipes", name))}
    told: list[str | Table] = [
        Table((), list(lines.items())),
        "\nWhat was measured of them, on Fashion-MNIST unless it says otherwise:\n",
    ]
    told += [Table((), list(measured.items())), f"\n{WHICH}", "vitrail recipes show NAME prints every field."]
    return Answer({"recipes": lines, "measured": measured}, told)


def show(name: Name) -> Answer:
    """Print every field of a recipe with its value and its meaning; --set FIELD=VALUE changes one.

    vitrail recipes show vqvae
    """
    module = catalog.find("recipes", name)
    recipe = module.recipe()
    rows = list(fields(recipe))
    facts = {"name": name, "recipe": recipe.printed(), "meaning": {path: meaning for path, _, meaning in rows}}
    shown = [(path, _short(value), meaning) for path, value, meaning in rows]
    return Answer(facts, [(module.__doc__ or "").strip(), "", Table(("field", "value", "meaning"), shown)])


def fields(config: BaseModel, above: str = "") -> list[tuple[str, Any, str]]:
    """(dotted path, value, meaning) of every field, parts after their own line."""
    rows: list[tuple[str, Any, str]] = []
    for name, entry in type(config).model_fields.items():
        value, path = getattr(config, name), f"{above}{name}"
        part = value.part() if hasattr(value, "part") and _is_slot(value) else None
        if not isinstance(value, BaseModel):
            rows.append((path, value, entry.description or ""))
            continue
        if part:
            rows.append((path, part, entry.description or ""))
        rows += fields(value, f"{path}.")
    return rows


def _is_slot(config: BaseModel) -> bool:
    """Whether a field's value is a part chosen by name, not just a group of settings."""
    return type(config).__name__ == "Config"


def _short(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


app = listing(__doc__, every, show=show)
