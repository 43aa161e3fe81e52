"""The loop in one process: exact resume, stop signals, full disks, accumulation, the guard."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import BATCH, Points, Toy, batches, curve, files, job, settings, train

from vitrail import durable
from vitrail.errors import Interrupted, ModelError, UsageError, VitrailError
from vitrail.model.weight import Ramp
from vitrail.training import guard, loop
from vitrail.training.job import Job, Losses, StepModule


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(folder, 60)
    return folder


class StopAt:
    """Batches that send this process a signal, or raise, when a step is asked for."""

    def __init__(self, step: int, act: Callable[[], None]) -> None:
        self.step, self.act = step, act

    def __call__(self, start: int) -> Any:
        for step, batch in enumerate(batches(start), start):
            if step == self.step:
                self.act()
            yield batch


def power_cut() -> None:
    raise RuntimeError("power cut")


def test_it_learns_and_reports(undisturbed: Path) -> None:
    lines = curve(undisturbed)
    assert [line["step"] for line in lines] == list(range(4, 61, 4))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[0]["images"] == 4 * BATCH
    assert set(lines[0]["terms"]) == {"mse", "small"}
    assert lines[3]["loss"] == pytest.approx(lines[3]["terms"]["mse"] + 0.01 * lines[3]["terms"]["small"])
    status = json.loads((undisturbed / "status.json").read_text())
    assert (status["state"], status["step"], status["progress"], status["pid"]) == ("finished", 60, 1.0, os.getpid())
    kept = sorted(path.name for path in (undisturbed / "checkpoints").iterdir())
    assert kept == ["codec_step_000050", "codec_step_000060"]


@pytest.mark.parametrize("step", [0, 1, 9, 10, 11, 30, 59])
def test_resume_is_exact_after_a_death_at_any_step(undisturbed: Path, tmp_path: Path, step: int) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, 60, batches=StopAt(step, power_cut))
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "failed"
    train(tmp_path, 60)
    assert [*map(json.dumps, curve(tmp_path))] == [*map(json.dumps, curve(undisturbed))]  # the order of names too
    assert files(tmp_path) == files(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_a_checkpoint(undisturbed: Path, tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="step 24 of the codec stage"):
        train(tmp_path, 60, batches=StopAt(23, partial(os.kill, os.getpid(), number)))
    assert signal.getsignal(number) is before
    assert (tmp_path / "checkpoints" / "codec_step_000024").is_dir()
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "interrupted"
    train(tmp_path, 60)
    assert curve(tmp_path) == curve(undisturbed)
    assert files(tmp_path) == files(undisturbed)


def test_a_second_sigint_stops_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, 60, batches=StopAt(3, twice))


def test_a_finished_stage_returns_at_once_with_its_weights(undisturbed: Path) -> None:
    toy = Toy(dropout=0.2, noise=0.1)

    def none(start: int) -> Any:
        raise AssertionError("no batch is needed")

    finished = loop.run(job(toy, "60 steps", batches=none), undisturbed, settings())
    assert finished.steps == 60
    assert finished.metrics["step"] == 60
    assert int(toy.steps) == int(finished.averaged.steps) == 60
    assert not torch.equal(toy.layers[0].weight, finished.averaged.layers[0].weight)


def test_accumulation_is_the_uncut_step(tmp_path: Path) -> None:
    whole, cut = Toy(), Toy()
    loop.run(job(whole, "20 steps"), tmp_path / "whole", settings())
    loop.run(job(cut, "20 steps", stage={"accumulate": 4}), tmp_path / "cut", settings())
    for one, other in zip(curve(tmp_path / "whole"), curve(tmp_path / "cut"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
    torch.testing.assert_close(whole.layers[0].weight, cut.layers[0].weight, atol=1e-5, rtol=0)


def test_a_full_disk_leaves_the_last_checkpoint(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        if "codec_step_000030" in str(path):
            path.write_bytes(content[:100])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content)

    write = durable._write_through
    with monkeypatch.context() as patch:
        patch.setattr(durable, "_write_through", full)
        with pytest.raises(Interrupted, match=r"No space left on device.*intact") as caught:
            train(tmp_path, 60)
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["codec_step_000010", "codec_step_000020"]
    train(tmp_path, 60)
    assert curve(tmp_path) == curve(undisturbed)
    assert files(tmp_path) == files(undisturbed)


def test_a_real_full_disk(undisturbed: Path, tmp_path: Path) -> None:
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(tmp_path)], capture_output=True
    ).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        with pytest.raises(Interrupted, match="No space left on device"):
            train(tmp_path, 60)
        assert list((tmp_path / "checkpoints").iterdir())
        subprocess.run(["mount", "-o", "remount,size=8m", str(tmp_path)], check=True)
        train(tmp_path, 60)
        assert curve(tmp_path) == curve(undisturbed)
        assert files(tmp_path) == files(undisturbed)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_damaged_newest_checkpoint_is_left_out(
    undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, 60, batches=StopAt(35, power_cut))
    weights = tmp_path / "checkpoints" / "codec_step_000030" / "module.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    train(tmp_path, 60)
    assert "codec_step_000030 is damaged and left out: module.safetensors does not match its checksum" in caplog.text
    assert curve(tmp_path) == curve(undisturbed)
    assert files(tmp_path) == files(undisturbed)


def test_another_recipe_is_refused(undisturbed: Path) -> None:
    toy = Toy()
    toy.layers[3] = nn.Linear(32, 2)
    with pytest.raises(ModelError, match=r"'layers.3.weight' is float32\(1, 32\), wanted float32\(2, 32\)"):
        loop.run(job(toy, "60 steps"), undisturbed, settings())


def test_a_weight_without_a_term_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="weights name kl, but the terms are mse, small"):
        train(tmp_path, 5, weights={"kl": 1.0})


def test_weights_move_with_the_learning_rate_s_progress(tmp_path: Path) -> None:
    """10 steps with the middle of each at 0.05, 0.15, ...; the module hears of it before the step that it is of."""

    heard: list[float] = []

    class Listening(Toy):
        def at(self, progress: float) -> None:
            heard.append(progress)

    ramp = Ramp(start=3.0, peak=1.0, over=0.5)
    made = job(Listening(), "10 steps", weights={"small": ramp, "mse": 1.0})
    loop.run(made, tmp_path, settings(log=1))
    middles = [(step + 0.5) / 10 for step in range(10)]
    assert heard == middles
    for line, progress in zip(curve(tmp_path), middles, strict=True):
        assert line["weights"] == {"small": ramp.at(progress)}
        assert line["loss"] == pytest.approx(
            line["terms"]["mse"] + ramp.at(progress) * line["terms"]["small"], rel=1e-5
        )


def test_a_poisoned_step_is_left_out_and_counted(tmp_path: Path) -> None:
    toy = Toy()
    finished = loop.run(
        job(toy, "20 steps", batches=partial(batches, poison={7, 8}.__contains__)), tmp_path, settings()
    )
    assert finished.refused == 2
    assert int(toy.steps) == 18
    assert [line["refused"] for line in curve(tmp_path)] == [0, 1, 2, 2, 2]
    assert all(tensor.isfinite().all() for tensor in toy.state_dict().values())


class Exploding(StepModule):
    """Its weight grows by the learning rate at every step; beyond the bound the loss is infinite."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.weight, self.bound = nn.Parameter(torch.zeros(1)), bound

    def forward(self, batch: Points) -> Losses:
        bad = self.weight.detach().item() > self.bound
        return Losses({"loss": -self.weight.sum() * (torch.inf if bad else 1.0)})

    def after_step(self) -> None:
        pass


def exploding(bound: float) -> Job:
    return job(Exploding(bound), "40 steps", weights={}, stage={"lr": 0.01, "decay": "none", "warmup": 0.0, "ema": 0.0})


def test_bad_steps_in_a_row_go_back_and_slow_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    finished = loop.run(exploding(0.2381), tmp_path, settings())
    assert (
        "the codec stage has no finite loss at step 34; back to step 20 with 0.5 times the learning rate" in caplog.text
    )
    assert "at step 38; back to step 20 with 0.25 times" in caplog.text
    assert "at step 46; back to step 30 with 0.125 times" in caplog.text
    assert finished.steps == 40
    assert finished.metrics["lr"] == 0.00125
    assert [line["step"] for line in curve(tmp_path)] == list(range(4, 41, 4))


def test_a_checkpoint_that_leads_nowhere_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The weight that is too large is saved at step 20 before any loss shows it."""
    assert loop.run(exploding(0.195), tmp_path, settings()).steps == 40
    assert "at step 30; back to step 10 with 0.5 times" in caplog.text


def test_it_gives_up_with_advice_and_never_saves_what_is_not_finite(tmp_path: Path) -> None:
    poisoned = partial(batches, poison=lambda step: step >= 15)
    with pytest.raises(VitrailError, match=r"3 returns to a checkpoint.*try a lower training\.codec\.lr"):
        loop.run(job(Toy(), "40 steps", batches=poisoned), tmp_path, settings())
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "failed"


class Overflowing(StepModule):
    """A finite loss and gradient, and a buffer that overflows once."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("sum", torch.zeros(1))
        self.calls = 0

    def forward(self, batch: Points) -> Losses:
        return Losses({"loss": (self.weight - 1).square()})

    def after_step(self) -> None:
        self.calls += 1
        self.sum += torch.inf if self.calls == 15 else 1.0


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    module = Overflowing()
    loop.run(job(module, "40 steps", weights={}), tmp_path, settings())
    assert module.calls == 50  # ten of them twice
    assert module.sum.item() == 40


def test_previews_see_the_average_in_eval_mode(tmp_path: Path) -> None:
    seen: list[tuple[int, bool, Tensor]] = []

    def preview(module: nn.Module, step: int) -> None:
        seen.append((step, module.training, module.layers[0].weight.clone()))

    toy = Toy()
    finished = loop.run(job(toy, "20 steps", preview=preview), tmp_path, settings(preview=1e-9))
    assert [step for step, _, _ in seen] == list(range(1, 21))
    assert not any(training for _, training, _ in seen)
    assert torch.equal(seen[-1][2], finished.averaged.layers[0].weight)
    assert toy.training


def test_without_an_average_the_module_itself_is_previewed(tmp_path: Path) -> None:
    modes = []

    def preview(module: nn.Module, _: int) -> None:
        modes.append(module.training)

    toy = Toy()
    toy.layers[2].eval()
    quiet = job(toy, "3 steps", preview=preview, stage={"ema": 0.0})
    finished = loop.run(quiet, tmp_path, settings(preview=1e-9))
    assert modes == [False] * 3
    assert finished.averaged is toy
    assert toy.training


def test_a_wall_clock_stage_ends_in_time(tmp_path: Path) -> None:
    class Slow(Toy):
        def forward(self, batch: Points) -> Losses:
            time.sleep(0.05)
            return super().forward(batch)

    (tmp_path / "warm").mkdir()
    train(tmp_path / "warm", 1)  # imports
    started = time.perf_counter()
    finished = loop.run(job(Slow(), "1s"), tmp_path, settings())
    assert time.perf_counter() - started < 1.3  # a busy machine may hold up the last step
    assert finished.seconds > 0.5
    assert finished.metrics["lr"] < 3e-3


def test_a_wall_clock_stage_counts_the_time_before_it_was_stopped(tmp_path: Path) -> None:
    waiting = StopAt(8, partial(os.kill, os.getpid(), signal.SIGTERM))
    slow = job(Toy(), "1s", batches=lambda start: (time.sleep(0.05) or batch for batch in waiting(start)))
    with pytest.raises(Interrupted):
        loop.run(slow, tmp_path, settings())
    started = time.perf_counter()
    finished = loop.run(slow, tmp_path, settings())
    assert time.perf_counter() - started < 0.9
    assert 0.5 < finished.seconds < 1.3


def test_the_precision_is_measured_once_and_kept(tmp_path: Path) -> None:
    toy = Toy(dropout=0.2)
    before = {name: tensor.clone() for name, tensor in toy.state_dict().items()}
    threads, random = torch.get_num_threads(), torch.get_rng_state()

    def check(module: nn.Module, step: int) -> None:
        raise RuntimeError("stop here")

    measured = settings(precision="auto", threads=0, preview=1e-9)
    with pytest.raises(RuntimeError, match="stop here"):
        loop.run(job(toy, "200000 steps", preview=check), tmp_path, measured)
    state = json.loads((tmp_path / "checkpoints" / "codec_step_000000" / "state.json").read_text())["state"]
    chosen = state["precision"]
    assert len(chosen["measured"]) >= 2
    assert torch.get_num_threads() == threads
    finished = loop.run(job(Toy(dropout=0.2), "20 steps"), tmp_path, measured)
    assert finished.precision == chosen
    saved = torch.random.get_rng_state()
    assert saved.shape == random.shape
    assert before.keys() == toy.state_dict().keys()


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, pytest.param({"compile": True}, marks=pytest.mark.slow)])
def test_bf16_and_compiled_steps_are_nearly_the_same(tmp_path: Path, changes: dict[str, Any]) -> None:
    for name, more in (("plain", {}), ("changed", changes)):
        loop.run(job(Toy(), "40 steps"), tmp_path / name, settings(**more))
    for line, other in zip(curve(tmp_path / "plain"), curve(tmp_path / "changed"), strict=True):
        assert other["loss"] == pytest.approx(line["loss"], rel=0.02)
    if "precision" in changes:
        assert curve(tmp_path / "plain") != curve(tmp_path / "changed")


def test_the_hook_sees_rising_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrail.training.journal.BEAT", 0.0)
    moments: list[Any] = []
    loop.run(job(Toy(), "2 epochs"), tmp_path, settings(), moments.append)
    assert [moment.step for moment in moments] == list(range(1, 21))
    assert [moment.progress for moment in moments] == pytest.approx([step / 20 for step in range(1, 21)])


def test_the_guard_says_what_is_acceptable() -> None:
    assert guard.acceptable({"loss": 1.0, "grad_norm": 0.0})
    assert not guard.acceptable({"loss": float("nan"), "grad_norm": 0.0})
    assert not guard.acceptable({"loss": 1.0, "grad_norm": float("inf")})
