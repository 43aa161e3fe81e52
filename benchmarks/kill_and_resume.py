"""Kill a training run at random moments, fill its disk, ask it to stop: the same command always finishes it, bit for bit.

    python benchmarks/kill_and_resume.py [--recipe vqvae] [--runs 50] [--fresh 5]

A run is `vitrail train vqvae --data digits` with small networks: 150 steps of codec and 150 of prior, a checkpoint every
20. With `--recipe vqgan` a discriminator learns beside the codec in nine of ten of its steps. Every run is killed one to
three times with SIGKILL, half of the times while a checkpoint is being written, then left to finish. Its log without the
clock's values, its model, its latents and its last checkpoints have to be those of a run that nothing disturbed.
Starting Python and torch would take most of the time, so all but `--fresh` runs are forks of a process that has imported
them and computed nothing; both kinds are processes that die of a real kill -9.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from measuring import Figure, environment, finish, options, say

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: threads do not survive a fork

SETTINGS = {
    "network.widths": "[8, 16]",
    "bottleneck.size": "64",
    "prior.width": "32",
    "prior.depth": "1",
    "training.precision": "fp32",
    "training.threads": "1",
    "training.checkpoint_steps": "20",
    "training.log": "5",
    "training.codec.batch": "32",
    "training.prior.batch": "32",
}
ADVERSARIAL = {"discriminator.width": "8", "adversarial.begin": "0.1", "weights.adversarial": "0.5"}
RECIPES = {"vqvae": SETTINGS, "vqgan": {**SETTINGS, **ADVERSARIAL}}
INTERRUPTED = 5  # exit code
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # sizes of the full disk, of what a whole run needs
Start = Callable[[Path], int]  # starts the command for a run folder; gives the process's number


@dataclass(frozen=True)
class Command:
    """The command under test."""

    steps: int
    recipe: str

    def words(self, folder: Path) -> list[str]:
        """What follows `vitrail`."""
        settings = [word for key, value in RECIPES[self.recipe].items() for word in ("--set", f"{key}={value}")]
        return [
            "train",
            self.recipe,
            "--data",
            "digits",
            "--out",
            str(folder),
            "--budget",
            f"{self.steps} steps",
            *settings,
        ]

    def fresh(self, folder: Path) -> int:
        """Start it as a user does."""
        arguments = [sys.executable, "-m", "vitrail", *self.words(folder)]
        to_log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [(os.POSIX_SPAWN_OPEN, 1, log_of(folder), to_log, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)]
        return os.posix_spawn(sys.executable, arguments, environment(), file_actions=actions)

    def forked(self, folder: Path, largest_file: int | None = None) -> int:
        """Start it in a fork of this process. largest_file: bytes at which writing fails."""
        if pid := os.fork():
            return pid
        log = os.open(log_of(folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = 70
        try:
            from vitrail.cli import run

            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
            code = run(self.words(folder))
        finally:
            sys.stderr.flush()
            os._exit(code)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--recipe", choices=tuple(RECIPES), default="vqvae")
    parser.add_argument("--runs", type=int, default=50, help="that are killed")
    parser.add_argument("--fresh", type=int, default=5, help="of these, started as new processes")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    if asked.quick:
        asked.runs, asked.fresh, asked.steps = 2, 0, 40
    command = Command(asked.steps, asked.recipe)
    import_all()
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        duration = timed(command.fresh, root / "undisturbed")
        forked = timed(command.forked, root / "forked")
        say(f"undisturbed: {duration:.1f} s, forked {forked:.1f} s")
        check = Check(root / "undisturbed")
        figures = [Figure("forked and fresh run differ", check.differs(root / "forked"), relation="==", bar=0)]
        starts = [(command.fresh, duration)] * asked.fresh + [(command.forked, forked)] * (asked.runs - asked.fresh)
        figures += killed(starts, check, root, asked.seed)
        figures += stopped(command.forked, check, root, 1 if asked.quick else 5)
        figures += disk_full(command, check, root, SHARES[2:3] if asked.quick else SHARES)
    finish(
        "kill_and_resume",
        figures,
        asked.quick,
        recipe=asked.recipe,
        steps=asked.steps,
        disk=disk_kind(),
        seconds=round(forked, 2),
    )


def killed(starts: list[tuple[Start, float]], check: Check, root: Path, seed: int) -> list[Figure]:
    """Kill every run at least once, then let it finish."""
    hits, different = 0, 0
    for number, (start, duration) in enumerate(starts):
        folder, chance = root / f"killed{number}", random.Random(f"{seed} {number}")
        own = 0
        while not own:
            clear(folder)
            own = sum(kill(start(folder), folder, chance, duration) for _ in range(chance.choice((1, 1, 2, 3))))
        different += not completes(start, folder) or check.differs(folder)
        hits += own
        say(f"run {number + 1} of {len(starts)}: killed {own} times, {different} different so far")
        clear(folder)
    return [
        Figure("runs killed and finished", len(starts)),
        Figure("kill -9 that hit a living process", hits, relation=">=", bar=len(starts)),
        Figure("killed runs that differ", different, relation="==", bar=0),
    ]


def kill(pid: int, folder: Path, chance: random.Random, duration: float) -> bool:
    """Send SIGKILL at a random moment, or while a checkpoint is being written after it; False if that was too late."""
    moment, aimed = time.perf_counter() + chance.uniform(0, duration), chance.random() < 0.5
    while time.perf_counter() < moment or (aimed and not any((folder / "checkpoints").glob("*.unfinished"))):
        if (code := ended(pid)) is not None:
            assert code == 0, log_of(folder).read_text()
            return False
        time.sleep(0.0002)
    if aimed:
        time.sleep(chance.uniform(0, 0.005))
    os.kill(pid, signal.SIGKILL)
    return wait(pid) == -signal.SIGKILL


def stopped(start: Start, check: Check, root: Path, runs: int) -> list[Figure]:
    """Ask runs to stop while they train."""
    right, different = 0, 0
    for number in range(runs):
        folder, chance = root / f"stopped{number}", random.Random(number)
        pid = start(folder)
        wanted = chance.randrange(1, len(check.curve) - 1)  # lines of the log, so that it is training
        while lines_of(folder) < wanted and ended(pid) is None:
            time.sleep(0.001)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        right += wait(pid) == INTERRUPTED and refusals(folder) == 1
        different += not completes(start, folder) or check.differs(folder)
    return [
        Figure("SIGTERM: not one line and exit code 5", runs - right, relation="==", bar=0),
        Figure("SIGTERM: runs that differ", different, relation="==", bar=0),
    ]


def disk_full(command: Command, check: Check, root: Path, shares: tuple[float, ...]) -> list[Figure]:
    """Let the disk run full at several points, make room, and go on."""
    wrong, damaged, different = 0, 0, 0
    for share in shares:
        folder = root / f"full{share}"
        try:
            with Disk(folder, command, share, check) as start:
                code = wait(start(folder))
                wrong += code != INTERRUPTED or refusals(folder) != 1
                damaged += not newest_is_sound(folder)
                say(f"disk of {share:.0%}: exit code {code}: {last_line(folder)}")
            different += not completes(command.forked, folder) or check.differs(folder)
        finally:
            clear(folder)
    return [
        Figure("full disk: not one line and exit code 5", wrong, relation="==", bar=0),
        Figure("full disk: damaged newest checkpoints", damaged, relation="==", bar=0),
        Figure("full disk: runs that differ", different, relation="==", bar=0),
    ]


class Check:
    """What every finished run is compared with."""

    def __init__(self, undisturbed: Path) -> None:
        self.folder = undisturbed
        self.curve, self.files = curve(undisturbed), contents(undisturbed)
        assert self.curve
        assert {"codec.safetensors", "prior.safetensors"} <= {Path(name).name for name in self.files}

    def differs(self, folder: Path) -> bool:
        """Whether anything but the clock differs; says what."""
        files = contents(folder)
        different = [
            name for name in sorted(self.files.keys() | files.keys()) if self.files.get(name) != files.get(name)
        ]
        if curve(folder) != self.curve:
            different.append("metrics.jsonl")
        if different:
            say(f"{folder.name}: {', '.join(different)}")
        return bool(different)

    def size(self) -> tuple[int, int]:
        """Bytes of the whole run and of its largest file."""
        sizes = [path.stat().st_size for path in self.folder.rglob("*") if path.is_file()]
        return sum(sizes), max(sizes)


def curve(folder: Path) -> list[dict[str, Any]]:
    """The log without the clock's values."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def contents(folder: Path) -> dict[str, bytes]:
    """Tensors of the model, the latents and the last checkpoints, and the model's settings, by name.

    Of the latents' file the tensors only, since it also tells the time they took. Which earlier checkpoint is kept
    depends on where the run was stopped.
    """
    from safetensors.torch import load, save

    last = [max((folder / "checkpoints").glob(f"{stage}_step_*")) for stage in ("codec", "prior")]
    paths = [path for part in (folder / "model", folder / "latents", *last) for path in part.glob("*.safetensors")]
    paths.append(folder / "model" / "config.json")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    return {name: save(load(raw)) if name.startswith("latents") else raw for name, raw in files.items()}


class Disk:
    """A small disk under a run folder while the block runs; then it grows, so that there is room."""

    def __init__(self, folder: Path, command: Command, share: float, check: Check) -> None:
        self.folder, self.command = folder, command
        self.whole, self.largest = (int(share * size) for size in check.size())

    def __enter__(self) -> Start:
        if not may_mount():
            return lambda folder: self.command.forked(folder, self.largest)
        self.folder.mkdir()
        options = f"size={max(self.whole // 1024, 64)}k"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], check=True)
        return self.command.forked

    def __exit__(self, *_: object) -> None:
        if may_mount():
            subprocess.run(["mount", "-o", "remount,size=1g", str(self.folder)], check=True)


@lru_cache
def may_mount() -> bool:
    """Whether this user may mount a file system."""
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True).returncode:
            return False
        subprocess.run(["umount", place], check=True)
        return True


def disk_kind() -> str:
    return "a small tmpfs" if may_mount() else "a limit on the size of files; mounting is not permitted"


def newest_is_sound(folder: Path) -> bool:
    """Whether the newest checkpoint of each stage passes its own check; a run may have died before its first."""
    from vitrail.training import checkpoint

    for stage in ("codec", "prior"):
        names = sorted(path.name for path in (folder / "checkpoints").glob(f"{stage}_step_*") if path.suffix == "")
        found = checkpoint.newest(folder / "checkpoints", stage)
        if names and (found is None or found.path.name != names[-1]):
            return False
    return True


def import_all() -> None:
    """Import what the command needs, and compute nothing: a fork has no other threads than its parent's first."""
    import sklearn.datasets  # noqa: F401
    import torch
    import torch.utils.tensorboard

    import vitrail.cli.train
    import vitrail.recipes.vqgan  # noqa: F401

    torch.set_num_threads(1)


def timed(start: Start, folder: Path) -> float:
    """Seconds of an undisturbed run."""
    began = time.perf_counter()
    assert completes(start, folder), log_of(folder).read_text()
    return time.perf_counter() - began


def completes(start: Start, folder: Path) -> bool:
    """Whether the command ends well when it is let alone."""
    if code := wait(start(folder)):
        say(f"{folder.name}: exit code {code}: {last_line(folder)}")
    return code == 0


def ended(pid: int) -> int | None:
    """Exit code of a child, negative for a signal; None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def wait(pid: int) -> int:
    """Exit code of a child when it has ended; 0 if that was already noticed."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0


def log_of(folder: Path) -> Path:
    """What the command printed, beside the run folder."""
    return folder.with_name(f"{folder.name}.log")


def refusals(folder: Path) -> int:
    """Lines with which the command refused to go on; a traceback counts as many."""
    text = log_of(folder).read_text()
    return sum(line.startswith("vitrail: ") for line in text.splitlines()) + 100 * text.count("Traceback")


def last_line(folder: Path) -> str:
    return (log_of(folder).read_text().splitlines() or ["nothing was printed"])[-1]


def lines_of(folder: Path) -> int:
    with suppress(FileNotFoundError):
        return (folder / "metrics.jsonl").read_bytes().count(b"\n")
    return 0


def clear(folder: Path) -> None:
    """Remove a run and its disk."""
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)
    shutil.rmtree(folder, ignore_errors=True)
    log_of(folder).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
