"""Precision: measured, applied, left as found."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
import torch
from toys import Points, Toy, batches

from vitrail import processor
from vitrail.model.recipe import Training
from vitrail.training import precision
from vitrail.training.distributed import Ranks
from vitrail.training.job import Losses
from vitrail.training.precision import Precision, applied, choose, cores, place

CPU = torch.device("cpu")


class Biased(Toy):
    """Takes longer in one of the two formats."""

    def __init__(self, slow: torch.dtype) -> None:
        super().__init__()
        self.slow = slow

    def forward(self, batch: Points) -> Losses:
        if torch.mm(batch.y.T, batch.y).dtype == self.slow:
            time.sleep(0.01)
        return super().forward(batch)


@pytest.fixture(autouse=True)
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that multiplies bf16, wherever the tests run."""
    monkeypatch.setattr(processor, "multiplies", lambda _: True)
    monkeypatch.setattr(processor, "others", lambda: 0.0)


@pytest.mark.parametrize(("slow", "chosen"), [(torch.bfloat16, "fp32"), (torch.float32, "bf16")])
def test_the_faster_format_is_chosen_and_nothing_is_touched(slow: torch.dtype, chosen: str) -> None:
    module = Biased(slow)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch.manual_seed(3)
    random = torch.get_rng_state()
    choice = choose(module, next(batches(0)), {}, Training(threads=1), Ranks())
    assert choice.format == chosen
    assert choice.threads == 1
    assert f"{chosen} x 1" in choice.measured
    assert choice.trial > 0
    assert Precision(**choice.printed()) == choice
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert all(weight.grad is None for weight in module.parameters())
    assert module.seen == []


class Clock:
    """perf_counter of a machine whose steps take as long as the test says."""

    def __init__(self, seconds: dict[tuple[bool, int], float]) -> None:
        self.now, self.seconds, self.tried = 0.0, seconds, []

    def __call__(self) -> float:
        return self.now

    def work(self, module: Any, batch: Points, weights: Any, autocast: Any) -> None:
        kind = (autocast is not contextlib.nullcontext, torch.get_num_threads())
        self.tried.append((*kind, len(batch.x)))
        self.now += self.seconds[kind] * len(batch.x) / 8


def tried(monkeypatch: pytest.MonkeyPatch, seconds: dict[tuple[bool, int], float], allowed: float) -> tuple[Any, Clock]:
    clock = Clock(seconds)
    monkeypatch.setattr(precision.time, "perf_counter", clock)
    monkeypatch.setattr(precision, "_tried", clock.work)
    monkeypatch.setattr(precision, "cores", lambda _: 2)
    monkeypatch.setattr(precision, "PART", 8)
    return choose(Toy(), next(batches(0)), {}, Training(), Ranks(), lambda step: allowed), clock


SPEEDS = {(True, 2): 1.0, (True, 1): 1.5, (False, 2): 4.0, (False, 1): 2.0}  # (bf16, threads): seconds a step


@pytest.mark.parametrize("allowed", [0.5, 2.5, 3.0, 5.0, 10.0, 100.0])
def test_the_trial_keeps_within_what_it_is_allowed(allowed: float, monkeypatch: pytest.MonkeyPatch) -> None:
    choice, clock = tried(monkeypatch, SPEEDS, allowed)
    assert choice.trial == clock.now
    assert choice.trial <= allowed
    assert choice == Precision("bf16", 2)


def test_what_is_three_times_slower_is_dropped_after_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    choice, clock = tried(monkeypatch, SPEEDS, 1000.0)
    assert clock.tried.count((False, 2, 8)) == 1
    assert set(choice.measured) == {"bf16 x 2", "bf16 x 1", "fp32 x 1"}


def test_threads_that_fight_for_a_core_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    choice, _ = tried(monkeypatch, SPEEDS | {(True, 2): 3.0}, 1000.0)
    assert choice == Precision("bf16", 1)


def test_one_thread_is_taken_unmeasured_where_others_are_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "others", lambda: 1.0)
    choice, _ = tried(monkeypatch, SPEEDS, 0.5)
    assert choice == Precision("bf16", 1)
    assert not choice.measured


def test_emulated_bf16_is_never_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "multiplies", lambda dtype: dtype is not torch.bfloat16)
    choice, clock = tried(monkeypatch, {(False, 2): 1.0, (False, 1): 2.0}, 1000.0)
    assert choice == Precision("fp32", 2)
    assert all(not bf16 for bf16, _, _ in clock.tried)


def test_what_the_recipe_fixes_is_not_measured() -> None:
    def fail(*_: Any) -> Losses:
        raise AssertionError("nothing to measure")

    module = Toy()
    module.forward = fail  # type: ignore[method-assign]
    assert choose(module, None, {}, Training(precision="bf16", threads=3), Ranks()) == Precision("bf16", 3)


def test_applied_only_inside_the_block() -> None:
    threads = torch.get_num_threads()
    with applied(Precision("bf16", threads + 1), CPU) as autocast:
        assert torch.get_num_threads() == threads + 1
        with autocast():
            assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
    assert torch.get_num_threads() == threads
    with applied(Precision("fp32", threads), CPU) as autocast:
        assert autocast is contextlib.nullcontext


def test_convolutions_are_placed_channels_last() -> None:
    module = Toy()
    module.convolution = torch.nn.Conv2d(3, 4, 3)
    values = module.convolution.weight.detach().clone()
    place(module, CPU)
    assert module.convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(module.convolution.weight, values)


def test_processes_share_the_cores() -> None:
    assert cores(Ranks(neighbours=1000)) == 1
    assert cores(Ranks()) >= 1
