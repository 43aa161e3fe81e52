"""The window of tokens over which a codebook's use is judged while it trains."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from vitrail.metrics.codebook import count, usage
from vitrail.training import window
from vitrail.training.snapshot import own_tensors, put_back
from vitrail.training.window import Window

SIZE, LEVELS = 12, 2


def batches(number: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, SIZE, (4, LEVELS, 2, 3), generator=generator) for _ in range(number)]


def filled(steps: list[torch.Tensor], made: Window | None = None) -> Window:
    made = made or Window(LEVELS, SIZE)
    for codes in steps:
        made.add(codes[:3])
        made.add(codes[3:])  # a second round
        made.after_step()
    return made


def test_statistics_are_those_of_all_tokens_while_they_fit() -> None:
    steps = batches(5)
    told, use = filled(steps).stats(), usage(count(torch.cat(steps), SIZE))
    assert (told["usage"], told["perplexity"], told["dead"]) == (use.usage, use.perplexity, use.dead)
    assert told["window"] == 5 * 4 * 6
    torch.testing.assert_close(filled(steps).shares().sum(1), torch.ones(LEVELS))


def test_what_is_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "LEAST", 48)  # two steps
    monkeypatch.setattr(window, "PER_CODE", 1)
    steps = batches(7)
    told = filled(steps)
    assert torch.equal(told.counts.sum(0).long(), count(torch.cat(steps[4:]), SIZE))  # a full half and a new one
    assert told.stats()["window"] == 3 * 24


def test_dead_codes_and_the_weakest_level() -> None:
    codes = torch.zeros(4, LEVELS, 2, 3, dtype=torch.int64)
    codes[:, 1] = torch.arange(6).view(2, 3)
    told = filled([codes]).stats()
    assert told["dead"] == 2 * SIZE - 7
    assert told["lowest_usage"] == pytest.approx(1 / SIZE)


def test_a_window_goes_on_from_its_saved_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "LEAST", 48)
    monkeypatch.setattr(window, "PER_CODE", 1)
    steps, resumed = batches(9), Window(LEVELS, SIZE)
    put_back(own_tensors(resumed), own_tensors(filled(steps[:3])), "window")
    undisturbed = filled(steps)
    assert filled(steps[3:], resumed).stats() == undisturbed.stats()
    assert torch.equal(resumed.counts, undisturbed.counts)


def test_nothing_is_told_before_the_first_step_nor_broken_by_a_refused_one() -> None:
    made = Window(1, 4)
    made.after_step()
    assert made.stats() == {}
    made.add(torch.tensor([[[-(1 << 62)]], [[1 << 62]]]))
    made.after_step()
    assert made.stats()["window"] == 2


def test_two_processes_count_as_one(tmp_path: Path) -> None:
    script = tmp_path / "count.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys, torch
        from pathlib import Path
        from vitrail.training import distributed
        from vitrail.training.window import Window
        with distributed.joined() as ranks:
            made, generator = Window({LEVELS}, {SIZE}), torch.Generator().manual_seed(0)
            for _ in range(3):
                codes = torch.randint(0, {SIZE}, (4, {LEVELS}, 2, 3), generator=generator)
                made.add(codes.chunk(2)[ranks.rank])
                made.after_step()
            torch.save(made.state_dict(), Path(sys.argv[1], f"{{ranks.rank}}.pt"))
        """)
    )
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": str(Path(window.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(script), str(tmp_path)]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    alone = filled(batches(3)).state_dict()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert all(torch.equal(found[name], alone[name]) for name in alone)
