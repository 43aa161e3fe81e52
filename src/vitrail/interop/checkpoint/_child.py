"""The child that unpickles: from a path to a path, one JSON object on standard error where it refuses."""

from __future__ import annotations

import io
import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save, save_file

from vitrail.errors import ModelError, VitrailError
from vitrail.interop.checkpoint._archive import judge
from vitrail.interop.checkpoint._confined import confine
from vitrail.interop.checkpoint._wrappers import tensors_of

# Classes that training programs leave in checkpoints beside the weights. None of them is imported: `Dropped` stands in for all.
STRANGERS = (
    "argparse.Namespace",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
)


class Dropped:
    """Stands for an object of a class that nobody needs: it takes everything and does nothing."""

    def __new__(cls, *ignored: Any) -> Dropped:
        return super().__new__(cls)

    def __init__(self, *ignored: Any) -> None:
        """Nothing is kept."""

    def __setstate__(self, ignored: Any) -> None:
        """Nothing is kept."""


def main(arguments: list[str]) -> int:
    """Arguments: source, target, seconds of processor time, and perhaps `ema`. Returns the exit code."""
    source, target, seconds = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    size = source.stat().st_size
    warm_up()
    confine(size, seconds)
    try:
        judge(source)
        tensors = tensors_of(_unpickled(source), ema=arguments[3:] == ["ema"], size=size)
        save_file(tensors, target)
    except (VitrailError, OSError, MemoryError, RuntimeError) as error:
        kind = "UsageError" if isinstance(error, VitrailError) and error.exit_code == 2 else "ModelError"
        message = str(error) if isinstance(error, VitrailError) else _reason(error)
        sys.stderr.write(f"{json.dumps({'kind': kind, 'message': message})}\n")
        return 4
    return 0


def warm_up() -> None:
    """Let torch and safetensors import what they import late, while that is still allowed."""
    torch.set_num_threads(1)
    content = io.BytesIO()
    torch.save({"one": torch.ones(1)}, content)
    content.seek(0)
    save(torch.load(content, weights_only=True))


def _unpickled(source: Path) -> object:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([(Dropped, name) for name in STRANGERS]):
            warnings.simplefilter("ignore")
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # what is in the file decides which
        raise ModelError(_reason(error)) from None


def _reason(error: BaseException) -> str:
    """One printable line of what torch has to say, without its advice to load the file anyway."""
    text = str(error)
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return "is refused: it asks for more memory than a file of its size can fill"
    if asked := re.search(r"GLOBAL (\S{1,200})", text):
        return f"is refused: it asks for {_printable(asked[1])}, which is code and no tensor; nothing of it was run"
    said = text.partition("WeightsUnpickler error: ")[2] or text or type(error).__name__
    return f"is refused: {_printable(said.strip().splitlines()[0][:200])}; nothing of it was run"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
