"""One cell of a sweep, trained and evaluated in a process of its own: whatever befalls it leaves the others alone.

`run` starts `python -m vitrail.studies.child JOB` and reads the JSON object that it prints.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import torch

from vitrail import durable
from vitrail.data.dataset import Dataset, open_dataset
from vitrail.errors import Interrupted, VitrailError
from vitrail.model.model import Model
from vitrail.model.recipe import parse
from vitrail.networks.features import load_features
from vitrail.tasks.evaluate import evaluate
from vitrail.training import report, stopping
from vitrail.training import run as training
from vitrail.training.progress import displayed
from vitrail.training.stopping import Stop

logger = logging.getLogger(__name__)

POLL = 0.2  # seconds between two looks at whether to stop
SAMPLES = 2_000  # of a trained prior, judged where there is a feature net


@dataclass(frozen=True)
class Job:
    """What a child is to do."""

    recipe: dict[str, Any]  # printed
    source: str
    folder: str
    features: str | None


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    state: Literal["finished", "failed", "interrupted"]
    error: str = ""
    steps: int = 0  # of the codec
    trained_seconds: float = 0.0  # of the codec, over all resumes
    scores: tuple[dict[str, Any], ...] = ()  # printed, with their protocols


def run(job: Job, stop: Stop) -> Outcome:
    """Do a job in a child process. A stop is passed on once, and the child then writes its checkpoint.

    The child has a process group of its own: Ctrl-C at a terminal reaches this process only, so it counts once.
    It reads from a pipe on which nothing comes; the end of the pipe asks it to stop, also where this process dies.
    """
    reading, writing = os.pipe()
    pipes: dict[str, Any] = {"stdin": reading, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    with os.fdopen(writing, "wb") as line:
        try:
            child = subprocess.Popen(command(job), **pipes, **_apart())
        finally:
            os.close(reading)
        with child:
            try:
                told = _awaited(child, stop, line)
            except BaseException:  # a second Ctrl-C
                child.kill()
                raise
    return _read(told, child.returncode, stop.requested)


def command(job: Job) -> list[str]:
    """What starts the child."""
    return [sys.executable, "-m", "vitrail.studies.child", json.dumps(asdict(job))]


def work(job: Job) -> Outcome:
    """Train, or find what is already trained, then score the held-out pictures. Raises VitrailError."""
    folder = Path(job.folder)
    with displayed() as show:
        model = training.train(parse(job.recipe), job.source, folder, show=show)
    channels, height, width = model.spec.shape
    heldout = open_dataset(job.source, model.recipe.data, "heldout", shape=(channels, height, width))
    scores = _scores(model, job, heldout)
    about = {"run": job.folder, "fingerprint": model.fingerprint, "data": job.source, "part": "heldout"}
    about["data_fingerprint"] = heldout.fingerprint
    try:
        content = json.dumps({**about, "scores": scores}, indent=1)
        durable.write_file(folder / "evaluation.json", content.encode(), through=True)
        report.write(folder)
    except OSError as error:  # the sweep, which gets the scores, may have a place for them
        logger.warning("%s is not written: %s", folder / "evaluation.json", error.strerror or error)
    return Outcome("finished", "", *_effort(folder), tuple(scores))


def guarded(job: Job) -> Outcome:
    """The same, with every failure as an outcome. Only those that are no user's mistake show where they came from."""
    try:
        return work(job)
    except Interrupted as error:
        return Outcome("interrupted", str(error))
    except VitrailError as error:
        return Outcome("failed", "; ".join(str(error).splitlines()))
    except Exception as error:
        if _out_of_memory(error):
            return Outcome("failed", "out of memory; give smaller pictures or a smaller batch")
        traceback.print_exc()
        return Outcome("failed", f"{type(error).__name__}: {' '.join(str(error).split())}")


def main(words: list[str]) -> int:
    """Entry of the child: the job as JSON in, the outcome as JSON out."""
    answer = sys.stdout
    with stopping.watched(), redirect_stdout(sys.stderr), _attached():
        outcome = guarded(Job(**json.loads(words[0])))
    with suppress(BrokenPipeError):  # nobody is left to tell
        answer.write(json.dumps(asdict(outcome)) + "\n")
        answer.flush()
    return 0


def _apart() -> dict[str, Any]:
    """How a process is started that Ctrl-C at this one's terminal does not reach, on POSIX and on Windows."""
    flag = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", None)
    return {"process_group": 0} if flag is None else {"creationflags": flag}


def _awaited(child: subprocess.Popen[str], stop: Stop, line: IO[bytes]) -> str:
    """What the child prints, once it has ended."""
    while True:
        try:
            return child.communicate(timeout=POLL)[0]
        except subprocess.TimeoutExpired:
            if stop.requested:
                line.close()


def _read(told: str, code: int, stopped: bool) -> Outcome:
    """The outcome; of a child that died before it could tell, how it died."""
    lines = told.splitlines()
    if code == 0 and lines:
        fields = json.loads(lines[-1])
        return Outcome(**{**fields, "scores": tuple(fields["scores"])})
    if stopped:
        return Outcome("interrupted", "stopped before the first step")
    if code < 0 and code == -getattr(signal, "SIGKILL", 0):
        return Outcome("failed", "its process was killed, probably because memory ran out")
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return Outcome("failed", f"its process ended {how}")


def _scores(model: Model, job: Job, heldout: Dataset) -> list[dict[str, Any]]:
    """Printed scores of the held-out part; a value that is not finite becomes None, as JSON knows none."""
    net = None if job.features is None else load_features(Path(job.features)).to(model.device)
    samples = min(SAMPLES, len(heldout)) if model.prior is not None else 0
    found = evaluate(model, heldout, net, samples=samples, likelihood=0)
    printed: list[dict[str, Any]] = json.loads(json.dumps(found.printed()), parse_constant=lambda _: None)
    return printed


def _effort(folder: Path) -> tuple[int, float]:
    """Steps of the codec stage, and the seconds they took."""
    lines = (json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    last = [line for line in lines if line["stage"] == "codec"][-1]
    return last["step"], last["time"]["seconds"]


def _out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed: on a CPU torch has no exception of its own for that."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and "allocate memory" in str(error))


@contextmanager
def _attached() -> Iterator[None]:
    """End this process as a stop signal would, once its input ends: the parent asks for it, or died."""
    done = threading.Event()

    def watch() -> None:
        while os.read(0, 1):  # not through sys.stdin, whose lock would be held when the interpreter ends
            continue
        if not done.is_set():
            signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
