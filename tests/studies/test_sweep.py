"""Sweeps of a few steps on digits, mostly in this process."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail import catalog, durable
from vitrail.data.loader import Loader, Positions
from vitrail.errors import Interrupted, ModelError, UsageError
from vitrail.networks.features import packed, small
from vitrail.studies import child, ledger
from vitrail.studies import sweep as study
from vitrail.studies.child import Job, Outcome
from vitrail.studies.grid import Plan, axis, planned
from vitrail.studies.ledger import Sweep
from vitrail.studies.picture import picture
from vitrail.studies.summary import best, rows
from vitrail.studies.table import table
from vitrail.training.stopping import Stop

TINY = {
    "network.widths": [8],
    "training.threads": 1,
    "training.precision": "fp32",
    "training.budget": "3 steps",
    "training.codec.batch": 16,
    "data.workers": 0,
}
SIZES = "bottleneck.size=8,16"


def plan(*over: str, seeds: int = 1, **settings: Any) -> Plan:
    recipe = catalog.find("recipes", "vqvae").recipe()
    return planned(recipe, [axis(text) for text in over or (SIZES,)], {**TINY, **settings}, seeds=seeds)


def here(job: Job, stop: Stop) -> Outcome:
    """A cell in this process: the same work without the seconds that a process takes to start."""
    return child.guarded(job)


def made(job: Job, stop: Stop) -> Outcome:
    """A cell that only says it is done."""
    size = job.recipe["bottleneck"]["size"]
    values = {"psnr": 20 + size / 8, "bits_per_pixel": np.log2(size) / 4, "codebook_usage": 0.5}
    scores = [{"metric": name, "value": float(value), **UNNAMED} for name, value in values.items()]
    return Outcome("finished", "", 3, 0.1, tuple(scores))


UNNAMED = {"n_real": 359, "features": None, "features_sha256": None}


def run(what: Plan, out: Path, **options: Any) -> Sweep:
    return study.sweep(what, "digits", out, **{"work": made, **options})


def times(folder: Path) -> Mapping[str, int]:
    """When each file below a folder was last written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the picture is not the question, drawing it would be most of the time. `done` is drawn."""
    monkeypatch.setattr(study, "picture", lambda sweep: None)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two cells, really trained."""
    return run(plan(), tmp_path_factory.mktemp("sweeps") / "sizes", work=here)


def test_every_cell_is_a_run_with_scores(done: Sweep) -> None:
    assert done.unfinished == ()
    for result in done.results.values():
        run_folder = done.out / result.folder
        assert (run_folder / "model" / "config.json").exists()
        assert (run_folder / "evaluation.json").exists()
        assert result.steps == 3
        assert result.score("codebook_usage") is not None
        assert result.score("bits_per_pixel") == pytest.approx(np.log2(result.settings["bottleneck.size"]) / 4)
        assert {score["n_real"] for score in result.scores} == {359}
    assert json.loads((done.out / "sweep.json").read_text())["cells"][0]["state"] == "finished"


def test_a_table_and_a_picture_are_written(done: Sweep) -> None:
    text = (done.out / "table.md").read_text()
    assert text.count("\n| 8 |") == text.count("\n| 16 |") == 1
    assert "359 held-out pictures" in text
    with Image.open(done.out / "rate-distortion.png") as image:
        assert min(image.size) > 400
        assert len(set(np.asarray(image.convert("RGB")).reshape(-1, 3)[::97].sum(1).tolist())) > 20


def test_the_same_plan_again_trains_nothing(done: Sweep) -> None:
    before = times(done.out / "cells")
    again = run(plan(), done.out, work=lambda job, stop: pytest.fail("nothing is left to do"))
    assert times(done.out / "cells") == before
    assert again.results == done.results


def test_cells_see_the_same_samples_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[list[int]]] = {}
    plain = Loader.positions

    def recorded(self: Loader, step: int) -> tuple[Positions, Positions]:
        found = plain(self, step)
        seen[current[-1]].append(found[0].tolist())
        return found

    current: list[str] = []

    def work(job: Job, stop: Stop) -> Outcome:
        current.append(job.folder)
        seen[job.folder] = []
        return child.guarded(job)

    monkeypatch.setattr(Loader, "positions", recorded)
    run(plan("bottleneck=vq,none", seeds=2), tmp_path / "s", work=work)
    first, second, third, fourth = seen.values()
    assert len(first) >= 3
    assert first == second
    assert third == fourth
    assert first != third  # of another seed


def test_a_feature_net_scores_again_without_training(done: Sweep, tmp_path: Path) -> None:
    net = small.Config(channels=1, classes=3, width=4).build()
    durable.write_folder(tmp_path / "net", packed(net, {}))
    before = times(done.out / "cells")
    judged = run(plan(), done.out, features=tmp_path / "net", work=here)
    after = times(done.out / "cells")
    assert {path for path in before if path.endswith(".safetensors") and before[path] != after[path]} == set()
    assert [row.mean("reconstruction_frechet") is not None for row in rows(judged)] == [True, True]
    assert "Frechet distance, reconstructed" in table(judged).headings
    with Image.open(io.BytesIO(picture(judged) or b"")) as image:
        assert image.size[0] > 2 * image.size[1]  # two panels
    run(plan(), done.out, features=tmp_path / "net", work=lambda job, stop: pytest.fail("it is scored already"))


def test_more_values_keys_and_seeds_keep_what_is_done(tmp_path: Path) -> None:
    trained: list[str] = []

    def work(job: Job, stop: Stop) -> Outcome:
        trained.append(Path(job.folder).name)
        return made(job, stop)

    run(plan(), tmp_path / "s", work=work)
    run(plan("bottleneck.size=8,32", seeds=2), tmp_path / "s", work=work)
    assert trained[2:] == [f"bottleneck.size={size}_seed={seed}" for size, seed in [(32, 0), (8, 1), (32, 1)]]
    wide = run(plan("bottleneck.size=8,16", "bottleneck.decay=0.99,0.9"), tmp_path / "s", work=work)
    assert len(trained) == 7
    assert len(wide.results) == 7  # what earlier commands finished stays in the table
    assert {row.settings.get("bottleneck.decay") for row in rows(wide)} == {0.99, 0.9, None}


def test_a_failed_cell_leaves_the_others_alone_and_is_tried_again(tmp_path: Path) -> None:
    def work(job: Job, stop: Stop) -> Outcome:
        return Outcome("failed", "out of | memory") if "=8_" in job.folder else made(job, stop)

    found = run(plan(), tmp_path / "s", work=work)
    assert [each.state for each in found.results.values()] == ["failed", "finished"]
    assert "failed: out of \\| memory |" in (tmp_path / "s" / "table.md").read_text()
    tried: list[Job] = []
    again = run(plan(), tmp_path / "s", work=lambda job, stop: tried.append(job) or made(job, stop))  # type: ignore[func-returns-value]
    assert len(tried) == 1
    assert again.unfinished == ()


def test_a_combination_that_is_none_is_listed_without_being_started(tmp_path: Path) -> None:
    started: list[str] = []

    def work(job: Job, stop: Stop) -> Outcome:
        started.append(job.folder)
        return made(job, stop)

    found = run(plan("bottleneck.size=8,100", "bottleneck=vq,lfq"), tmp_path / "s", work=work)
    assert len(started) == 3
    (problem,) = found.unfinished
    assert problem.settings == {"bottleneck.size": 100, "bottleneck": "lfq"}
    assert "power of 2" in problem.error
    assert problem.error in table(found).rows[-1][-1]


def test_a_value_that_never_fits_is_refused_before_the_first_cell(tmp_path: Path) -> None:
    recipe = catalog.find("recipes", "vqvae").recipe()
    with pytest.raises(UsageError, match="prior"):  # a transformer wants codes, a Gaussian bottleneck has none
        run(planned(recipe, [axis("bottleneck=vq,gaussian")], TINY, prior=True), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_term_that_no_part_has_is_a_failed_cell(tmp_path: Path) -> None:
    found = run(plan("bottleneck.size=8", "weights.sharpness=1"), tmp_path / "s", work=here)
    assert "sharpness" in found.unfinished[0].error


def test_an_error_in_a_part_is_a_failed_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 TB")

    monkeypatch.setattr(child, "evaluate", broken)
    assert "out of memory" in run(plan("bottleneck.size=8"), tmp_path / "s", work=here).unfinished[0].error


def test_scores_that_cannot_be_stored_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = ledger.write

    def full(found: Sweep) -> None:
        if any(each.scores for each in found.results.values()):
            raise Interrupted("cannot write sweep.json: no space left on device")
        write(found)

    monkeypatch.setattr(ledger, "write", full)
    with pytest.raises(Interrupted, match="no space"):
        run(plan("bottleneck.size=4"), tmp_path, work=made)
    (told,) = [line for line in caplog.messages if "not stored" in line]
    assert "bottleneck.size=4" in told
    assert "psnr" in told


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    calls: list[str] = []

    def stopped(job: Job, stop: Stop) -> Outcome:
        calls.append(job.folder)
        return made(job, stop) if len(calls) == 1 else Outcome("interrupted", "stopped at step 7")

    with pytest.raises(Interrupted, match=r"cell 2 of 3 \(.*\): stopped at step 7"):
        run(plan("bottleneck.size=8,16,32"), tmp_path / "s", work=stopped)
    states = [cell["state"] for cell in json.loads((tmp_path / "s" / "sweep.json").read_text())["cells"]]
    assert states == ["finished", "interrupted", "waiting"]
    later: list[str] = []
    run(
        plan("bottleneck.size=8,16,32"),
        tmp_path / "s",
        work=lambda job, stop: later.append(job.folder) or made(job, stop),
    )  # type: ignore[func-returns-value]
    assert later[0] == calls[1]
    assert len(later) == 2


def test_a_signal_between_two_cells_stops_the_sweep(tmp_path: Path) -> None:
    def work(job: Job, stop: Stop) -> Outcome:
        os.kill(os.getpid(), signal.SIGTERM)
        return made(job, stop)

    with pytest.raises(Interrupted, match="before cell 2 of 2"):
        run(plan(), tmp_path / "s", work=work)


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"training.budget": "4 steps"}, "training.budget 3 steps, now 4 steps"),
        ({"bottleneck.decay": 0.5}, "bottleneck.decay 0.99, now 0.5"),
    ],
)
def test_another_base_is_refused(tmp_path: Path, changed: dict[str, Any], part: str) -> None:
    run(plan(), tmp_path / "s")
    before = times(tmp_path / "s")
    with pytest.raises(UsageError, match=part) as refused:
        run(plan(**changed), tmp_path / "s")
    assert len(str(refused.value).splitlines()) == 1
    assert times(tmp_path / "s") == before


def test_other_data_the_prior_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    run(plan(), tmp_path / "s")
    with pytest.raises(UsageError, match="other data"):
        study.sweep(plan(), "glyphs", tmp_path / "s", work=made)
    recipe = catalog.find("recipes", "vqvae").recipe()
    with pytest.raises(UsageError, match="--prior false, now true"):
        run(planned(recipe, [axis(SIZES)], TINY, prior=True), tmp_path / "s")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="holds no sweep"):
        run(plan(), tmp_path / "other")
    (tmp_path / "s" / "sweep.json").write_text("{}")
    with pytest.raises(ModelError, match="damaged"):
        run(plan(), tmp_path / "s")


def test_a_budget_that_is_varied_is_not_told_as_everyones(tmp_path: Path) -> None:
    recipe = catalog.find("recipes", "vqvae").recipe()
    settings = {key: value for key, value in TINY.items() if key != "training.budget"}
    run(planned(recipe, [axis(SIZES)], {**settings, "training.steps": 3}), tmp_path / "s")
    assert "Budget of each cell: 3 steps." in (tmp_path / "s" / "table.md").read_text()
    run(planned(recipe, [axis("training.budget=3 steps,9 steps")], settings), tmp_path / "t")
    assert "Budget of each" not in (tmp_path / "t" / "table.md").read_text()


def test_torchrun_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match="without torchrun"):
        run(plan(), tmp_path / "s")


def test_seeds_share_a_row_with_their_spread_and_the_front_is_marked(tmp_path: Path) -> None:
    def work(job: Job, stop: Stop) -> Outcome:
        size, seed = job.recipe["bottleneck"]["size"], job.recipe["training"]["seed"]
        psnr = {8: 20.0, 16: 19.0, 32: 25.0}[size] + seed
        values = {"psnr": psnr, "bits_per_pixel": float(size), "reconstruction_frechet": 9.0}
        return Outcome("finished", "", 3, 65.0, tuple({"metric": k, "value": v, **UNNAMED} for k, v in values.items()))

    found = run(plan("bottleneck.size=32,16,8", seeds=3), tmp_path / "s", work=work)
    shown = table(found)
    assert [row[0] for row in shown.rows] == ["8", "16", "32"]
    assert shown.rows[0][shown.headings.index("PSNR (dB)")] == "21.00 ± 1.00"
    assert shown.rows[0][shown.headings.index("training")] == "1 min 05 s"
    assert best(rows(found)) == [True, False, True]
    assert picture(found) is not None


def test_without_codes_the_picture_is_over_the_swept_key(tmp_path: Path) -> None:
    scores = ({"metric": "psnr", "value": 20.0, **UNNAMED},)
    over = ("bottleneck.channels=2,4", "bottleneck=gaussian")
    found = run(plan(*over), tmp_path / "s", work=lambda job, stop: Outcome("finished", scores=scores))
    assert picture(found) is not None
    assert "bits per pixel" not in table(found).headings
    assert picture(run(plan(), tmp_path / "t", work=lambda job, stop: Outcome("failed", "so"))) is None


def test_what_is_left_is_judged_by_finished_cells_or_the_budget(tmp_path: Path) -> None:
    told: list[tuple[int, int, float]] = []
    tell: study.Tell = lambda number, total, cell, left: told.append((number, total, left))  # noqa: E731
    run(plan(**{"training.budget": "50s"}), tmp_path / "s", tell=tell)
    assert told[0] == (1, 2, 100.0)
    assert told[1][:2] == (2, 2)
    assert told[1][2] < 5


def test_a_sweep_that_holds_nothing_out_is_refused_before_it_trains(tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", np.zeros((6, 8, 8), dtype=np.uint8))
    with pytest.raises(UsageError, match=r"data.heldout=0 leaves nothing .* to score a cell by"):
        study.sweep(plan(**{"data.heldout": 0}), str(tmp_path / "grey.npy"), tmp_path / "s", work=here)
    assert not (tmp_path / "s").exists()
