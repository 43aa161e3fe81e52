"""Of which classes samples are to be."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.errors import UsageError

Label = int | str | Sequence[int | str] | np.ndarray | Tensor | None


def indices(label: Label, numbers: Sequence[int], names: tuple[str, ...], told: bool = False) -> Tensor:
    """(n,) class indices of the samples with these numbers, -1 for none.  Raises UsageError on an unknown class.

    label: a class by index or name, or one per sample; None takes the classes in turn.
    names: of the classes that the prior knows. told: something else says what to draw, so that no class is taken in turn.
    """
    label = label.tolist() if isinstance(label, Tensor | np.ndarray | np.generic) else label
    if label is None:
        return torch.tensor([number % len(names) if names and not told else -1 for number in numbers])
    each = [label] * len(numbers) if isinstance(label, int | str) else list(label)
    if not names and any(str(one) != "-1" for one in each):
        raise UsageError("this model's prior knows no classes; leave the label out")
    if len(each) != len(numbers):
        raise UsageError(f"got {len(each)} labels for {len(numbers)} samples")
    return torch.tensor([_index(one, names) for one in each])


def _index(label: int | str, names: tuple[str, ...]) -> int:
    if isinstance(label, str) and label in names:
        return names.index(label)
    if str(label) == "-1" or (re.fullmatch(r"[0-9]+", str(label)) and int(label) < len(names)):
        return int(label)
    raise UsageError(f"unknown class '{label}'{catalog.nearest(str(label), names)}")
