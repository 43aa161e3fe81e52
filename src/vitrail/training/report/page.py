"""The page: its head, its sections in order, and the file they make."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from string import Template

from vitrail import catalog, durable
from vitrail.metrics.protocol import installed_version
from vitrail.training.report import facts, numbers, sections
from vitrail.training.report.facts import Facts
from vitrail.training.report.markup import Html, duration, join, number, tag
from vitrail.training.report.settings import named_recipe

TEMPLATE = Path(__file__).with_name("page.html")


def write(run: Path) -> Path:
    """Make report.html in a run folder from what lies there, and return its path; works at any moment of a run.

    Raises UsageError where there is no run, Interrupted where the file cannot be written.
    """
    known = facts.read(run)
    path = run / "report.html"
    with durable.storing(path):
        durable.write_file(path, page(known).encode())
    return path


def page(known: Facts) -> str:
    """The whole document."""
    title = f"{known.recipe.name} on {Path(known.source).name or known.source}"
    body = join(section(known) for section in sections.IN_ORDER)
    fields = {"title": join([title]), "head": _head(known, title), "body": body, "foot": _foot()}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(fields)


def _head(known: Facts, title: str) -> Html:
    name = known.recipe.name
    what = catalog.summary("recipes", name) if named_recipe(known.recipe) else "A recipe of your own."
    told = {
        "Data": known.source,
        "Started": f"{known.started.day} {known.started:%B %Y, %H:%M}" if known.started else "?",
        "Machine": _machine(known),
        "Time spent": duration(known.seconds),
    }
    pairs = (tag("div", tag("dt", key), tag("dd", value)) for key, value in told.items())
    lead = tag("p", what, class_="lead")
    return join([tag("h1", title), lead, tag("p", _in_short(known)), tag("dl", *pairs), _state(known)])


def _machine(known: Facts) -> str:
    told = known.environment
    cores = f"{told.get('cores', '?')} CPU cores ({told.get('capability') or told.get('machine', '?')})"
    return f"{told['gpu']}, {cores}" if told.get("gpu") else cores


def _in_short(known: Facts) -> str:
    """What the model does to a picture, in one sentence."""
    latent, kind = known.latent, {1: " grey", 3: " colour"}.get(known.spec.channels, "")
    each = f"Each {_by(known.spec.space)}{kind} {known.spec.modality} becomes"
    if not latent.size:
        return f"{each} {_by(latent.shape)} numbers and comes back from them."
    levels = f"{latent.levels} levels of " if latent.levels > 1 else ""
    codes = f"{levels}{_by(latent.grid)} codes out of {latent.size:,}"
    if latent.size == 1:
        return f"{each} {codes}, which say nothing."
    return f"{each} {codes}: {number(numbers.smaller(known))} times fewer bits than its 8{numbers.HYPHEN}bit values."


def _by(sizes: tuple[int, ...]) -> str:
    return " × ".join(map(str, sizes)) or "1"


def _state(known: Facts) -> Html:
    """Nothing for a finished run; else how far it is."""
    if known.finished:
        return Html("")
    status = known.status
    where = "No step has been reported yet."
    if "stage" in status:
        where = f"The {status['stage']} stage is at step {status['step']:,}, {status['progress']:.0%} of its budget."
    going_on = status["state"] == "running"
    advice = "This page shows the run as it was when it was written." if going_on else "The same command resumes it."
    return tag("p", tag("strong", "This run is not finished. "), f"{where} {advice}", class_="note")


def _foot() -> Html:
    now = datetime.now()
    when = f"{now.day} {now:%B %Y at %H:%M}"
    told = f"Written by vitrail, version {installed_version()}, on {when}. This page is one file and needs no network."
    return join([told])
