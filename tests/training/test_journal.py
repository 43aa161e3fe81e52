"""The log: cut on resume, valid JSON, readable by TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from vitrail.errors import Interrupted
from vitrail.training.journal import Journal, Moment, cut


def line(stage: str, step: int, loss: float = 1.0) -> dict[str, Any]:
    return {"stage": stage, "step": step, "loss": loss, "terms": {"kl": 2.0}, "stats": {}, "time": {"seconds": 1.0}}


def test_cut_keeps_other_stages_and_drops_half_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps(line(stage, step)) + "\n" for stage, step in [("codec", 9), ("prior", 1), ("prior", 5)]]
    path.write_text("".join(lines) + lines[2][:20])
    cut(path, "prior", 4)
    assert path.read_text() == "".join(lines[:2])
    cut(tmp_path / "absent.jsonl", "prior", 4)


def test_lines_events_and_status(tmp_path: Path) -> None:
    shown: list[Moment] = []
    moment = Moment("codec", 4, 0.5, float("nan"), 10.0, 3.0)
    with Journal(tmp_path, "codec", 0, True, shown.append) as journal:
        journal.write(line("codec", 4, float("inf")))
        assert journal.due(0.0)
        journal.beat(moment, 0.0)
        assert not journal.due(0.1)
        journal.sync()
        status = json.loads((tmp_path / "status.json").read_text())
        assert (status["state"], status["loss"], status["progress"]) == ("running", None, 0.5)
    assert shown == [moment]
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["loss"] is None
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "finished"
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "codec")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("terms/kl")] == [(4, 2.0)]


@pytest.mark.parametrize(("error", "state"), [(Interrupted("x"), "interrupted"), (ValueError("x"), "failed")])
def test_the_status_tells_how_it_ended(tmp_path: Path, error: Exception, state: str) -> None:
    with pytest.raises(type(error)), Journal(tmp_path, "codec", 0, True, None):
        raise error
    assert json.loads((tmp_path / "status.json").read_text())["state"] == state


def test_other_processes_are_silent(tmp_path: Path) -> None:
    with Journal(tmp_path, "codec", 0, False, None) as journal:
        journal.write(line("codec", 4))
        journal.sync()
        assert not journal.due(100.0)
        journal.beat(Moment("codec", 4, 0.5, 1.0, 1.0, 1.0), 0.0)
    assert list(tmp_path.iterdir()) == []


def test_histograms_reach_tensorboard_now_and_then(tmp_path: Path) -> None:
    with Journal(tmp_path, "codec", 0, True, None) as journal:
        for step, seconds in ((10, 1.0), (20, 2.0), (30, 11.0)):
            journal.write({**line("codec", step), "time": {"seconds": seconds}}, lambda: {"codes": torch.rand(100)})
        journal.sync()
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "codec"), {"histograms": 0}).Reload()
    assert [event.step for event in events.Histograms("codes")] == [10, 30]
    assert events.Histograms("codes")[0].histogram_value.num == 100
