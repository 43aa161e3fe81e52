"""Settings of a sampler, tried on one model: quality against cost, and the best as the model's default.

The cells are those of a sweep over `prior.sampling`, so settings are read, checked and kept as a sweep keeps its own; but nothing
is trained, and all are drawn and judged in this process. Real pictures are looked at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import torch
from torch import nn

from vitrail import durable
from vitrail.data.dataset import Dataset
from vitrail.errors import Interrupted, UsageError
from vitrail.model import folder
from vitrail.model.given import given
from vitrail.model.model import Model, Precision
from vitrail.model.recipe import Recipe, override
from vitrail.networks.features import FeatureNet
from vitrail.studies import grid, ledger
from vitrail.studies.grid import Axis, Cell, Plan
from vitrail.studies.ledger import Origin, Result, Sweep
from vitrail.studies.sampling_picture import picture
from vitrail.studies.sampling_table import CALLS, PREFIX, SECONDS, markdown
from vitrail.tasks._drawn import drawn
from vitrail.tasks._seen import Seen, seen
from vitrail.tasks.evaluate import check_kind, sample_scores
from vitrail.training import stopping

WARM = 64  # samples drawn before the clock starts, by which calls of the network are counted
USUAL: dict[str, tuple[Any, ...]] = {  # values tried of a setting that is named without any
    "sampler": ("dpmpp-2m", "heun", "ddim", "unipc"),
    "steps": (5, 10, 20, 50),
    "guidance": (1.0, 1.5, 2.0, 3.0),
    "temperature": (0.8, 0.9, 1.0, 1.1),
    "top_p": (0.8, 0.9, 0.95, 1.0),
    "top_k": (8, 32, 128),
    "shift": (0.5, 1.0, 2.0, 3.0),
    "rho": (3.0, 5.0, 7.0, 9.0),
    "eta": (0.0, 0.5, 1.0),
    "remask": (0.0, 0.05, 0.1),
}


@dataclass(frozen=True)
class Judge:
    """What every cell is judged by, beside real pictures."""

    net: FeatureNet
    samples: int
    limit: int | None  # real pictures at most
    seed: int
    precision: Precision = "fp32"


Tell = Callable[[int, int, str], None]  # number from 1, of how many, which


def axes(words: Sequence[str], recipe: Recipe) -> list[Axis]:
    """`sampler=heun,euler` gives a setting's values; `steps,guidance` names settings whose usual values are tried.

    Raises UsageError for a setting without usual values.
    """
    found = []
    for word in words:
        if "=" in word:
            given = grid.axis(word)
            found.append(Axis(f"{PREFIX}{given.key}", given.values))
        else:
            found += [Axis(f"{PREFIX}{key.strip()}", _usual(key.strip(), recipe)) for key in word.split(",")]
    return found


def planned(model: Model, wanted: Sequence[Axis], judge: Judge) -> Plan:
    """All combinations. Raises UsageError that lists every mistake, ModelError where the file of the prior is gone."""
    model.settings({})  # which says what is the matter where there is no prior
    if not wanted:
        raise UsageError("--over is missing; give what to vary, for example --over steps=10,20,50 or --over steps")
    plan = grid.examined(grid.planned(model.recipe, wanted, prior=True), partial(_problem, model))
    sampling: Any = type(plan.recipe.prior).model_fields["sampling"].default  # type: ignore[union-attr]
    plain = override(plan.recipe, {PREFIX.removesuffix("."): sampling.model_dump(mode="json")})
    told = {ledger.WEIGHTS: _digest(model), "samples": judge.samples, "limit": judge.limit, "seed": judge.seed}
    told["precision"] = judge.precision
    return replace(plan, recipe=plain, settings={**told, "features": judge.net.sha256})


def sweep(
    model: Model, plan: Plan, judge: Judge, data: Dataset, source: str, out: Path, tell: Tell | None = None
) -> Sweep:
    """Draw and score what the folder does not hold yet of a plan. A cell whose settings contradict each other is noted as failed.

    Raises UsageError for a folder of another study, DataError for other pictures than the model's, Interrupted (resumable).
    """
    check_kind(model, data)
    real: Seen | None = None
    with ledger.claimed(out, plan, Origin(source, data.fingerprint)) as found, stopping.watched() as stop:
        for i, cell in enumerate(plan.cells):
            held = found.results[cell.digest]
            if cell.recipe is None or held.state == "finished":
                continue
            if stop.requested:
                raise Interrupted(
                    f"stopped before cell {i + 1} of {len(plan.cells)}; the same command goes on from there"
                )
            if tell:
                tell(i + 1, len(plan.cells), told(cell))
            if real is None:
                count = min(len(data), judge.limit or len(data))
                real = seen(model, data, judge.net, count, lambda done: None, reconstruct=False)
            result = _tried(model, cell, held, judge, data, real)
            found = found.noted(result)
            with ledger.telling([result]):
                ledger.write(found)
        with ledger.telling(found.results.values()):
            write(found)
        return found


def store(model: Model, path: Path, chosen: Result) -> Model:
    """Make a cell's settings the default of the model in a run or model folder; its fingerprint changes with them."""
    home = model_folder(path)
    card = (home / "README.md").read_text(encoding="utf-8") if (home / "README.md").is_file() else ""
    recipe = override(model.recipe, chosen.settings)
    made = Model(recipe, model.spec, model.codec, model.prior)
    with durable.storing(home):
        folder.save(made, home, card)
    return made


def model_folder(path: Path) -> Path:
    """Where the model of a run or model folder is."""
    return next(each for each in (path, path / "model") if (each / "config.json").is_file())


def write(found: Sweep) -> None:
    """sweep.json, table.md and quality-cost.png. Raises Interrupted on a full disk."""
    ledger.write(found)
    image = picture(found)
    with durable.storing(found.out):
        durable.write_file(found.out / "table.md", markdown(found).encode())
        if image is not None:
            durable.write_file(found.out / "quality-cost.png", image)


def told(cell: Cell | Result) -> str:
    """For people: `sampler=heun steps=10`."""
    return " ".join(f"{key}={grid.shown(value)}" for key, value in settings(cell).items())


def settings(cell: Cell | Result) -> dict[str, Any]:
    """A cell's settings by the prior's own names."""
    return {key.removeprefix(PREFIX): value for key, value in cell.settings.items()}


def _problem(model: Model, cell: Cell) -> UsageError | None:
    """Why the model cannot be drawn from as a cell says, as far as that is known without drawing."""
    try:
        model.settings(settings(cell))
    except UsageError as error:
        return error
    return None


def _tried(model: Model, cell: Cell, held: Result, judge: Judge, data: Dataset, real: Seen) -> Result:
    assert cell.recipe is not None
    # Whose settings may also be null.
    tried = Model(cell.recipe, model.spec, model.codec, model.prior).at(judge.precision)
    started = time.perf_counter()
    try:
        with torch.inference_mode(), _counted(tried.prior) as rows:
            tried.draw(WARM, seed=judge.seed, **given(tried, data, 0, WARM, judge.seed))
    except UsageError as error:
        return replace(held, state="failed", error="; ".join(str(error).splitlines()))
    fake = drawn(tried, judge.net, data, judge.samples, judge.seed, {}, lambda done: None)
    scores = [score.printed() for score in sample_scores(tried, real, fake, judge.net, judge.seed)]
    cost = {SECONDS: fake.seconds / judge.samples, CALLS: rows[0] / WARM}
    spent = held.seconds + time.perf_counter() - started
    printed = json.loads(json.dumps(scores), parse_constant=lambda _: None)
    return replace(held, state="finished", error="", seconds=spent, scores=tuple(printed), cost=cost)


@contextmanager
def _counted(prior: nn.Module | None) -> Iterator[list[int]]:
    """Counts the samples that go through the prior's networks, those guidance asks about twice included."""
    assert prior is not None
    rows = [0]
    if not list(prior.children()):  # a fixed distribution
        yield rows
        return

    def count(module: nn.Module, given: tuple[Any, ...], result: Any) -> None:
        rows[0] += len(given[0])

    sizes = {net: sum(weight.numel() for weight in net.parameters()) for net in prior.children()}
    large = [
        net for net, size in sizes.items() if 2 * size > max(sizes.values())
    ]  # two where guidance has a net of its own
    hooks = [net.register_forward_hook(count) for net in large if not isinstance(net, nn.Embedding | nn.ModuleList)]
    try:
        yield rows
    finally:
        for hook in hooks:
            hook.remove()


def _usual(key: str, recipe: Recipe) -> tuple[Any, ...]:
    sampling: Any = recipe.prior.sampling  # type: ignore[union-attr]
    field = type(sampling).model_fields.get(key)
    kinds = [] if field is None else [field.annotation, *get_args(field.annotation)]
    choices = next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), None)
    if field is None:
        return (None,)  # which `grid.planned` refuses by its name
    if choices is None and key not in USUAL:
        raise UsageError(f"--over {key}: give its values, as {key}=VALUE,VALUE...; usual ones are not known")
    return tuple(choices or USUAL[key])


def _digest(model: Model) -> str:
    """Of the weights alone: what is stored as default leaves them as they are."""
    assert model.prior is not None
    state = {**model.codec.state_dict(), **model.prior.state_dict(prefix="prior.")}
    sums: Mapping[str, float] = {name: float(value.double().sum()) for name, value in state.items()}
    return grid.digest(sums)
