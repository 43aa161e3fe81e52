"""Pickled PyTorch checkpoints (.pth, .pt, .bin) as .safetensors.

    python -m vitrail.interop.checkpoint weights.pth weights.safetensors

The only place that unpickles: tensors only (`weights_only=True`), in a child process that can be thrown away.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from vitrail.errors import ModelError, UsageError, VitrailError


def convert(source: Path, target: Path) -> None:
    """Write the tensors of a pickled state dict as .safetensors, in a child process.

    Raises UsageError where `target` exists or is misnamed, ModelError where `source` holds anything but named tensors.
    """
    if target.suffix != ".safetensors" or target.exists():
        raise UsageError(f"wants a new file that ends in .safetensors, got {target}")
    if not source.is_file():
        raise ModelError(f"no checkpoint at {source}")
    command = [sys.executable, "-m", "vitrail.interop.checkpoint", "--child", str(source), str(target)]
    child = subprocess.run(command, capture_output=True, text=True)
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise ModelError(f"{source} cannot be converted: {last}")


def tensors_of(checkpoint: object) -> dict[str, Tensor]:
    """The named tensors of what was unpickled, contiguous and apart in memory.   Raises ModelError on anything else."""
    if not isinstance(checkpoint, dict) or not checkpoint:
        raise ModelError(f"wants a state dict, got {type(checkpoint).__name__}")
    for name, value in checkpoint.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelError(f"wants a flat state dict, but '{name}' is a {type(value).__name__}")
    return {name: value.detach().clone().contiguous() for name, value in checkpoint.items()}


def _convert_here(source: Path, target: Path) -> None:
    beside = target.with_name(f"{target.name}.unfinished")
    save_file(tensors_of(torch.load(source, map_location="cpu", weights_only=True)), beside)
    beside.rename(target)


def main(arguments: list[str]) -> int:
    """Entry of the command above and of its child; returns the exit code."""
    try:
        if arguments[:1] == ["--child"] and len(arguments) == 3:
            _convert_here(Path(arguments[1]), Path(arguments[2]))
        elif len(arguments) == 2:
            convert(Path(arguments[0]), Path(arguments[1]))
        else:
            raise UsageError("wants two arguments: the checkpoint and the .safetensors file to write")
    except VitrailError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
