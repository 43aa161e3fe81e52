"""Pickled PyTorch checkpoints (.ckpt, .pt, .pth, .bin, .th) as .safetensors; the only folder that unpickles.

Imports errors and durable only.

    python -m vitrail.interop.checkpoint weights.pth weights.safetensors

The pickle is read with `weights_only=True` in a child process that is thrown away, so what it holds never meets the caller:

    caller -> child: what is neither torch's zip nor its older stream is refused (`_archive`); memory, processor time and disk are
    limited; processes, sockets and other files are forbidden (`_confined`) -> unpickled -> the state dict is found, the rest is
    dropped (`_wrappers`) -> .safetensors -> caller
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from vitrail import durable
from vitrail.errors import ModelError, UsageError

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".th")
SECONDS = 60  # of processor time for a small file; each further BYTES_PER_SECOND bytes have another
BYTES_PER_SECOND = 20 << 20
PASSED = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR")  # of the environment; a child needs no tokens and no home
START = "import sys; sys.path[:] = {path}; from vitrail.interop.checkpoint import _child; sys.exit(_child.main(sys.argv[1:]))"


def convert(source: Path, target: Path, ema: bool = False) -> None:
    """Write the tensors of a pickled state dict as .safetensors, in a child process.

    ema: the running averages of the weights, where the file has them.   Raises UsageError where `target` exists or is misnamed,
    ModelError where `source` holds no named tensors, or anything that is not data, or where the system cannot confine the child.
    """
    if target.suffix != ".safetensors" or target.exists():
        raise UsageError(f"wants a new file that ends in .safetensors, got {target}")
    if not source.is_file():
        raise ModelError(f"no checkpoint at {source}")
    if importlib.util.find_spec("resource") is None:  # Windows
        raise ModelError(
            f"{source} is a pickle, and this system cannot limit a process that reads one; "
            "turn it into .safetensors with `vitrail import` on Linux or macOS"
        )
    beside = target.with_name(f"{target.name}.unfinished")
    seconds = SECONDS + source.stat().st_size // BYTES_PER_SECOND
    command = [sys.executable, "-I", "-c", START.format(path=_path()), str(source), str(beside), str(seconds)]
    try:
        child = subprocess.run(
            [*command, *(["ema"] if ema else [])],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60 + 4 * seconds,  # it may wait for the processor and the disk
            env={name: os.environ[name] for name in PASSED if name in os.environ} | {"OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        beside.unlink(missing_ok=True)
        raise ModelError(f"{source} is refused: reading it takes longer than {60 + 4 * seconds} s") from None
    if child.returncode:
        beside.unlink(missing_ok=True)
        _raise(source, child.returncode, child.stderr.decode(errors="replace"), seconds)
    durable.put_in_place(beside, target)


def _path() -> list[str]:
    """Where this process imports from, without the current folder: that of a downloaded file may hold anything."""
    own = str(Path(__file__).parents[3])
    return [own, *(each for each in sys.path if os.path.isabs(each) and each not in (own, os.getcwd()))]  # noqa: PTH109, PTH117


def _raise(source: Path, code: int, said: str, seconds: int) -> None:
    """What became of the child, as an error: it answers with JSON on its last line unless it was killed."""
    if code < 0 and code == -getattr(signal, "SIGXCPU", 0):
        raise ModelError(f"{source} is refused: reading it takes more than {seconds} s of processor time")
    if code < 0:
        raise ModelError(f"{source} is refused: reading it ended by signal {-code}; the file is damaged or hostile")
    try:
        answer = json.loads(said.splitlines()[-1])
        kind, message = answer["kind"], answer["message"]
    except (ValueError, LookupError, TypeError):
        raise ModelError(f"{source} cannot be read: the process that reads it failed with code {code}") from None
    raise (UsageError if kind == "UsageError" else ModelError)(f"{source} {message}")
