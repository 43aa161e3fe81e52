"""What a format file is given: the tensors of a checkpoint, by the names in the file, and the settings beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Foreign:
    """A checkpoint of another library, read."""

    path: Path  # what the user named
    tensors: dict[str, Tensor]  # flat, by the name in the file; wrappers such as ["state_dict"] are already opened
    settings: dict[str, Any]  # the config.json or .yaml that lay beside it; {} where there was none
