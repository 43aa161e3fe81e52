"""The held-out loss while a stage trains: when it is looked at, what is kept by it, and when a stage ends early."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import StopAt, power_cut
from toys import BATCH, Points, Toy, batches, curve, files, job, settings

from vitrail.training import loop, validation
from vitrail.training.job import Finished, Job
from vitrail.training.state import PATIENCE, Progress
from vitrail.training.validation import APART, LEAST


def heldout(count: int = 40) -> Points:
    """Points that are in no batch."""
    x = torch.randn(count, 1, 4, 4, generator=torch.Generator().manual_seed(12345))
    return Points(x, x.sum((1, 2, 3))[:, None].sin())


def few(start: int) -> Iterator[Points]:
    """The same eight points for ever."""
    while True:
        yield next(batches(0))


def contrary() -> Points:
    """The same points with the opposite values: the better they are learnt, the worse these get."""
    points = next(batches(0))
    return Points(points.x, -points.y)


def watched(steps: int, toy: Toy | None = None, **changes: Any) -> Job:
    changes = {"heldout": heldout(), "select": True, "judged": ("mse",), **changes}
    return job(toy or Toy(), f"{steps} steps", **changes)


def looks(folder: Path) -> dict[int, float]:
    """Held-out loss by step, as the log has it."""
    return {line["step"]: line["heldout"]["loss"] for line in curve(folder) if "heldout" in line}


def learnt_by_heart(folder: Path, steps: int = 3000, **changes: Any) -> Finished:
    """A stage that can only get worse on what it was not shown."""
    return loop.run(
        watched(steps, batches=few, heldout=contrary(), **changes), folder, settings(log=1000, checkpoint_steps=500)
    )


def test_looks_take_two_per_cent_of_the_samples_and_are_the_same_on_every_machine(tmp_path: Path) -> None:
    loop.run(watched(500), tmp_path, settings())
    every = math.ceil(APART * 40 / BATCH)
    assert list(looks(tmp_path)) == [*range(every, 500, every), 500]
    seen = 40 * len(looks(tmp_path)) / 3  # a look is a third of a step's work
    assert seen < 0.03 * 500 * BATCH


def test_a_small_set_is_gone_through_again_where_noise_is_drawn(tmp_path: Path) -> None:
    class Noisy(Toy):
        """Draws noise when it is judged, too."""

    spent = {}
    for noise in (0.0, 0.5):
        loop.run(watched(400, Noisy(noise=noise)), tmp_path / str(noise), settings())
        spent[noise] = next(iter(looks(tmp_path / str(noise))))
    assert spent[0.5] == math.ceil(APART * 40 * math.ceil(LEAST / 40) / BATCH)
    assert spent[0.0] == math.ceil(APART * 40 / BATCH)


def test_the_best_weights_are_kept_and_the_stage_ends_early(tmp_path: Path) -> None:
    finished = learnt_by_heart(tmp_path)
    measured = looks(tmp_path)
    assert finished.early
    assert finished.steps < 3000
    first, best = finished.heldout
    assert best == min(measured.values()) < measured[finished.steps]
    assert first != best
    found = validation.Validation(
        watched(1, heldout=contrary()), plain(finished.averaged), loop.distributed.current(), 0
    )
    assert found.look(Progress(), torch.no_grad)["loss"] == pytest.approx(best, abs=1e-6)


def plain(module: Any) -> Any:
    """The module as an average of nothing but itself."""
    return validation.Average(module, 0.0)


def test_the_last_weights_stay_where_that_is_wanted(tmp_path: Path) -> None:
    finished = learnt_by_heart(tmp_path, 600, select=False)
    assert not finished.early
    assert finished.steps == 600
    assert finished.heldout[1] == looks(tmp_path)[600]


@pytest.mark.parametrize("step", [1, 86, 300])
def test_resume_is_exact_with_best_weights(tmp_path: Path, step: int) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run = partial(loop.run, training=settings())
    finished = run(watched(400, Toy(noise=0.1)), whole)
    with pytest.raises(RuntimeError, match="power cut"):
        run(watched(400, Toy(noise=0.1), batches=StopAt(step, power_cut)), parts)
    resumed = run(watched(400, Toy(noise=0.1)), parts)
    assert [*map(json.dumps, curve(parts))] == [*map(json.dumps, curve(whole))]
    assert files(parts) == files(whole)
    assert "best.safetensors" in files(whole)
    assert resumed.heldout == finished.heldout
    again = run(watched(400, Toy(noise=0.1)), whole)  # a finished stage gives the same weights again
    mine, theirs = finished.averaged.state_dict(), again.averaged.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_looking_changes_nothing_that_is_trained(tmp_path: Path) -> None:
    for name, held in (("with", heldout()), ("without", None)):
        loop.run(watched(200, Toy(dropout=0.2), heldout=held, select=False), tmp_path / name, settings())
    assert files(tmp_path / "with") == files(tmp_path / "without")


def test_a_stage_ends_after_patience_only() -> None:
    progress = Progress()
    progress.see({"loss": 2.0}, 0)
    assert progress.see({"loss": 1.0}, 10)
    for look in range(1, PATIENCE):
        assert not progress.see({"loss": 1.5}, 10 + 10 * look)
        assert not progress.stalled(10 + 10 * look)
    progress.see({"loss": 1.5}, 200)
    assert progress.stalled(200)
    progress.see({"loss": 1.01}, 210)  # within the noise of a plateau
    assert not progress.stalled(210)
    assert progress.first == 2.0


def test_a_loss_that_is_not_finite_is_never_the_best() -> None:
    progress = Progress()
    assert progress.see({"loss": 1.0}, 5)
    assert not progress.see({"loss": math.nan}, 10)
    assert progress.best == 1.0
