"""Copies in the report: samples above the training pictures that they are nearest to, and how many are copies."""

from __future__ import annotations

from typing import Any

from vitrail.training import copying
from vitrail.training.report import pictures
from vitrail.training.report.facts import Facts
from vitrail.training.report.markup import Html, number, table, tag

HEAD = ("Compared in", "Copies among samples", "Among held-out pictures", "Expected by chance", "Median distance")
CAPTION = "Samples, the most suspicious first, each above its nearest training picture; the number is their distance."


def section(facts: Facts) -> Html:
    """What `copying.look` left in the run folder."""
    told = copying.read(facts.run)
    if told is None:
        return Html("")
    rows = (_row(space, each) for space, each in told["spaces"].items())
    return tag("section", tag("h2", "Copies"), tag("p", _how(told)), table("copies", HEAD, rows), *_picture(facts))


def _how(told: dict[str, Any]) -> str:
    """What counts as a copy."""
    searched, training = told["searched"], told["training"]
    some = f"{searched:,} of the {training:,}" if searched < training else f"the {training:,}"
    return (
        f"A sample counts as a copy where it is as near to one of {some} training pictures, mirrored, turned or moved a little,"
        " as hardly any of them is to another one. Held-out pictures, which the model never saw, are judged alike."
    )


def _row(space: str, told: dict[str, Any]) -> tuple[str, ...]:
    of = {"samples": "", "heldout": "of held-out pictures "}
    medians = ", ".join(f"{of[name]}{number(each)}" for name, each in told["median"].items())
    return space, _share(told["samples"]), _share(told["heldout"]), f"{told['expected']:.1%}", medians


def _share(told: dict[str, Any]) -> str:
    low, high = told["interval"]
    return f"{told['copies']:.1%} of {told['n']:,} (95 %: {low:.1%} to {high:.1%})"


def _picture(facts: Facts) -> list[Html]:
    path = facts.run / copying.PICTURE
    if not path.exists():
        return []
    inside = pictures.embedded(path)
    told = {"src": inside.uri, "alt": CAPTION, "width": inside.width, "height": inside.height}
    return [tag("figure", tag("img", **told), tag("figcaption", CAPTION), style=f"max-width: {inside.width}px")]
