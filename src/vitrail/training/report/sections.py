"""The sections of the page, each a function of the facts; one without anything to show is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby

from vitrail.model.recipe import SLOTS, Recipe
from vitrail.training.report import charts, codebook, copies, curves, numbers, pictures
from vitrail.training.report.facts import STAGES, Facts
from vitrail.training.report.markup import Html, join, table, tag
from vitrail.training.report.pictures import Grid
from vitrail.training.report.settings import Setting, command, named_recipe, printed, settings

LISTED = 200  # files set aside; the rest is counted
SHOWS = {"codec": "Originals over their reconstructions", "prior": "Samples: pictures that never were"}
STRIPS = {"codec": "Reconstructions", "prior": "Samples"}
NEWEST_FIRST = tuple(reversed(STAGES))  # samples before reconstructions

NOTHING = Html("")


def key_numbers(facts: Facts) -> Html:
    """A row of figures."""
    cards = (_card(figure) for figure in numbers.key_numbers(facts))
    return tag("section", tag("h2", "In numbers", class_="hidden"), tag("ul", *cards, class_="numbers"))


def newest(facts: Facts) -> Html:
    """The last grid of each stage, large and of one height."""
    last = [(stage, found[-1]) for stage in NEWEST_FIRST if (found := pictures.grids(facts.run, stage))]
    if not facts.reads:
        last = last[:1]  # the codec's grids are samples too
    shown = (_picture(grid, _shows(facts, stage), _shows(facts, stage), pictures.LARGE) for stage, grid in last)
    return _section("What it makes", tag("div", *shown, class_="pair")) if last else NOTHING


def over_time(facts: Facts) -> Html:
    """A film strip of each stage that was shown more than once."""
    found = {stage: pictures.grids(facts.run, stage) for stage in NEWEST_FIRST}
    strips = [_strip(facts, stage, grids) for stage, grids in found.items() if len(grids) > 1]
    return _section("How it got there", *strips) if strips else NOTHING


def training(facts: Facts) -> Html:
    """Curves of each stage."""
    parts = []
    for stage in STAGES:
        if drawn := [charts.drawn(chart) for chart in curves.of_stage(facts, stage)]:
            parts += [tag("h3", stage.capitalize()), tag("div", *drawn, class_="charts")]
    return _section("Training", *parts) if parts else NOTHING


def evaluation(facts: Facts) -> Html:
    """Every score with its protocol."""
    rows = numbers.score_rows(facts)
    shown = table("scores", ("Metric", "Value", "95 % interval", "Measured on"), rows)
    return _section("Evaluation", shown) if facts.scores else NOTHING


def set_aside(facts: Facts) -> Html:
    """The files that could not be used, with their reasons."""
    faults = facts.quarantine
    if not faults:
        return NOTHING
    often = "; ".join(f"{reason} ({n:,})" for reason, n in Counter(fault.reason for fault in faults).most_common(3))
    verb = "file was" if len(faults) == 1 else "files were"
    told = tag("p", f"{len(faults):,} {verb} not usable and took no part in training. Reasons: {often}.")
    rows = ((fault.path, fault.reason) for fault in faults[:LISTED])
    more = f"{len(faults) - LISTED:,} more are in quarantine.json." if len(faults) > LISTED else ""
    return _section("Files set aside", told, table("faults", ("File", "Reason"), rows), tag("p", more))


def recipe(facts: Facts) -> Html:
    """Every setting by group; those that differ from the named recipe are marked and counted."""
    every = settings(facts.recipe)
    changed = sum(setting.changed for setting in every)
    told = f"All {len(every)} settings are those of the recipe {facts.recipe.name}."
    if named_recipe(facts.recipe) is None:
        told = "A recipe of your own, so there is nothing to compare it with."
    elif changed:
        told = f"{changed} of {len(every)} settings differ from the recipe as it comes; they are marked."
    groups = (_group(name, list(rows)) for name, rows in groupby(every, key=_group_of))
    return _section("Recipe", tag("p", told), *groups)


def environment(facts: Facts) -> Html:
    """Machine and versions."""
    flat = {key: value for key, value in facts.environment.items() if key != "packages"}
    told = {**flat, **facts.environment.get("packages", {})}
    rows = {key: str(value) for key, value in told.items() if value is not None}
    return _section("Environment", _pairs(rows)) if rows else NOTHING


def again(facts: Facts) -> Html:
    """How to repeat the run, and how to use its model."""
    out = facts.shown_path
    shell = command(facts.recipe, facts.source, f"{out}-again", facts.start) or _by_python(facts, f"{out}-again")
    repeat = [tag("h3", "Train the same again"), tag("pre", tag("code", shell))]
    use = [tag("h3", "Use the model in Python"), tag("pre", tag("code", _use(facts, out)))]
    return _section("Again, and onwards", *repeat, *use)


IN_ORDER = (
    codebook.findings,
    key_numbers,
    newest,
    copies.section,
    over_time,
    training,
    codebook.section,
    evaluation,
    set_aside,
    recipe,
    environment,
    again,
)


def _section(title: str, *children: str) -> Html:
    return tag("section", tag("h2", title), *children)


def _card(figure: numbers.Figure) -> Html:
    value = tag("strong", figure.value, tag("small", f" {figure.unit}"))
    return tag("li", tag("span", figure.title, class_="what"), value, tag("span", figure.note, class_="from"))


def _shows(facts: Facts, stage: str, titles: Mapping[str, str] = SHOWS) -> str:
    """What the grids of a stage show; those of a generator are samples already while it trains."""
    return titles[stage if facts.reads else "prior"]


def _strip(facts: Facts, stage: str, grids: list[Grid]) -> Html:
    frames = (_picture(grid, _when(grid), _shows(facts, stage), pictures.SMALL) for grid in pictures.spread(grids))
    return join([tag("h3", _shows(facts, stage, STRIPS)), tag("div", *frames, class_=f"strip {stage}")])


def _picture(grid: Grid, caption: str, shows: str, limits: tuple[int, int]) -> Html:
    """A figure that takes part of its row's width by its shape, so that pictures of one row are equally high."""
    inside = pictures.embedded(grid.path, limits)
    told = {"src": inside.uri, "alt": f"{shows}, {_when(grid)}", "width": inside.width, "height": inside.height}
    image = tag("img", **told, class_="hard" if inside.hard else "soft")
    return tag("figure", image, tag("figcaption", caption), style=f"flex: {inside.width / inside.height:.3f} 1 0")


def _when(grid: Grid) -> str:
    return "after fitting" if grid.step is None else f"step {grid.step:,}"


def _group_of(setting: Setting) -> str:
    path = setting.path.split(".")
    return ".".join(path[:2]) if len(path) > 2 and path[0] not in SLOTS else path[0]


def _group(name: str, rows: Iterable[Setting]) -> Html:
    """The settings of one part, under its name and purpose."""
    field = Recipe.model_fields.get(name)
    meaning = f": {field.description}" if field and field.description else ""
    title = tag("summary", tag("h3", name.replace(".", ", ")), meaning)
    cells = ((tag("code", row.path), _value(row), row.meaning) for row in rows)
    return tag("details", title, table("settings", ("Setting", "Value", "Meaning"), cells), open="")


def _value(setting: Setting) -> Html:
    value = tag("code", printed(setting.value))
    if not setting.changed:
        return value
    return join([tag("mark", value), tag("small", f" instead of {printed(setting.default)}")])


def _use(facts: Facts, out: str) -> str:
    shape = ", ".join(map(str, facts.spec.shape))
    lines = ["import vitrail", "", f"model = vitrail.load({out!r})"]
    if facts.recipe.prior is not None:
        hint = "" if facts.recipe.condition is None else ", condition=picture"
        hint = ', prompt="..."' if facts.recipe.data.captions else hint
        lines.append(f"pictures = model.sample(16, seed=0{hint})  # (16, {shape}) in [0, 1]")
    if facts.reads:
        lines.append("again = model.reconstruct(pictures)")
    if facts.latent.size:
        shape = ", ".join(map(str, (16, facts.latent.levels, *facts.latent.grid)))
        lines.append(f"codes = model.encode(pictures).codes  # ({shape}) integers below {facts.latent.size}")
    return "\n".join(lines)


def _by_python(facts: Facts, out: str) -> str:
    """For a recipe that no command line knows: the run folder holds its printed form."""
    begun = "" if facts.start is None else f", start={facts.start!r}"
    lines = [
        "import json, pathlib, vitrail",
        "from vitrail.model.recipe import parse",
        "",
        f'told = json.loads(pathlib.Path({facts.shown_path!r}, "recipe.json").read_text(encoding="utf-8"))',
        f'vitrail.train(parse(told["recipe"]), data={facts.source!r}, out={out!r}{begun})',
    ]
    return "\n".join(lines)


def _pairs(rows: dict[str, str]) -> Html:
    return tag("dl", *(tag("div", tag("dt", key), tag("dd", value)) for key, value in rows.items()), class_="pairs")
