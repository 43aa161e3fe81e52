"""What a run tells while it trains: metrics.jsonl and TensorBoard for later, status.json and a hook for now."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from torch import Tensor

from vitrail import durable
from vitrail.errors import Interrupted
from vitrail.training import status

BEAT = 0.2  # seconds between two moments shown
HISTOGRAMS = 10.0  # seconds between two histograms, each of which takes some kilobytes
BINS = 64


@dataclass(frozen=True)
class Moment:
    """Where training is right now."""

    stage: str
    step: int
    progress: float  # 0 to 1, of the stage's budget
    loss: float
    images_per_second: float
    eta_seconds: float  # until the end of the stage


Show = Callable[[Moment], None]


class Journal:
    """The open log of one stage, silent unless it `writes`.

    Lines after the step it starts from are cut, so that a resumed curve has no line twice.
    Wall-clock values of a line are under "time": all others are the same in every repetition of a run.
    """

    def __init__(self, folder: Path, stage: str, step: int, writes: bool, show: Show | None) -> None:
        self.folder, self.stage, self.writes, self.show = folder, stage, writes, show
        self.shown_at, self.started = -math.inf, status.now()
        self.moment = Moment(stage, step, 0.0, math.nan, 0.0, math.nan)
        self.file: IO[str] | None = None
        self.events: Any = None
        self.histogram_at = -math.inf

    def __enter__(self) -> Journal:
        self.start_from(self.moment.step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.writes:
            return
        self._close()
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        state = "finished" if error is None else "interrupted" if stopped else "failed"
        with contextlib.suppress(OSError):  # a full disk is already being reported
            self._write_status(state)

    def start_from(self, step: int) -> None:
        """Drop the lines of this stage after a step and go on behind them."""
        if not self.writes:
            return
        self._close()
        with durable.storing(self.folder / "metrics.jsonl"):
            cut(self.folder / "metrics.jsonl", self.stage, step)
            self.file = (self.folder / "metrics.jsonl").open("a", encoding="utf-8", newline="\n")
            self.events = _event_writer(self.folder / "tensorboard" / self.stage, step)

    def write(self, line: Mapping[str, Any], histograms: Callable[[], Mapping[str, Tensor]] = dict) -> None:
        """Add a line; it survives the death of this process, and after `sync` that of the machine.

        histograms: asked now and then for values whose distribution TensorBoard is to show.
        """
        if self.file is None:
            return
        with durable.storing(self.folder / "metrics.jsonl"):
            self.file.write(json.dumps(status.without_nan(line)) + "\n")
            self.file.flush()
            if self.events:
                for name, value in _flat(line):
                    self.events.add_scalar(name, value, line["step"])
                self._write_histograms(line, histograms)

    def _write_histograms(self, line: Mapping[str, Any], histograms: Callable[[], Mapping[str, Tensor]]) -> None:
        seconds = line.get("time", {}).get("seconds", 0.0)
        if seconds - self.histogram_at < HISTOGRAMS:
            return
        self.histogram_at = seconds
        for name, values in histograms().items():
            self.events.add_histogram(name, values.float().cpu().numpy(), line["step"], bins=BINS)

    def sync(self) -> None:
        """Put all lines on the disk."""
        if self.file is None:
            return
        with durable.storing(self.folder / "metrics.jsonl"):
            os.fsync(self.file.fileno())
            if self.events:
                self.events.flush()

    def due(self, seconds: float) -> bool:
        """Whether it is time to show another moment."""
        return self.writes and seconds - self.shown_at >= BEAT

    def beat(self, moment: Moment, seconds: float) -> None:
        """Rewrite status.json and call the hook."""
        if not self.writes:
            return
        self.moment, self.shown_at = moment, seconds
        with durable.storing(self.folder / "status.json"):
            self._write_status("running")
        if self.show:
            self.show(moment)

    def _write_status(self, state: str) -> None:
        status.write(self.folder, {**asdict(self.moment), "state": state, "started": self.started})

    def _close(self) -> None:
        for open_file in (self.file, self.events):
            if open_file:
                with contextlib.suppress(OSError):  # what was lost is cut and written again on resume
                    open_file.close()
        self.file = self.events = None


def cut(path: Path, stage: str, step: int) -> None:
    """Remove a stage's lines after a step, and a last line that was never finished."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if _belongs(line, stage, step)]
    if kept != lines:
        durable.write_file(path, b"".join(kept), through=True)


def _belongs(line: bytes, stage: str, step: int) -> bool:
    try:
        fields = json.loads(line)
    except ValueError:
        return False
    return line.endswith(b"\n") and (fields["stage"] != stage or fields["step"] <= step)


def _event_writer(folder: Path, step: int) -> Any:
    """TensorBoard's writer, or None where it is not installed. Events after `step` are marked as void."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=step + 1 if step else None)


def _flat(line: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Every number of a line under a name for TensorBoard: "loss", "terms/kl"."""
    flat: list[tuple[str, float]] = []
    for name, value in line.items():
        if isinstance(value, Mapping):
            flat += [(f"{name}/{inner}", number) for inner, number in _flat(value)]
        elif isinstance(value, float):
            flat.append((name, value))
    return flat
