"""Names of weights: one table per format, from our names to those in the file, so that it serves both directions.

Strict: a weight that is missing, that nothing takes, or that has another shape is an error that names it as the file does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vitrail.errors import ModelError

Tensors = Mapping[str, Tensor]
Table = Sequence[
    tuple[str, str | Callable[[re.Match[str]], str]]
]  # (pattern in our name, what becomes of it), all in turn
NAMED = 3  # weights that an error names before it counts the rest


def theirs(name: str, table: Table) -> str:
    """A name of ours as the format has it."""
    for pattern, new in table:
        name = re.sub(pattern, new, name)
    return name


@dataclass(frozen=True)
class Weights:
    """The weights in a foreign file, asked for by our names."""

    path: Path
    tensors: Tensors  # by their names
    table: Table

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and theirs(name, self.table) in self.tensors

    def side(self, name: str, axis: int = 0) -> int:
        """Length of an axis of a weight. Raises ModelError where there is no such weight or axis."""
        their = theirs(name, self.table)
        if their not in self.tensors:
            raise ModelError(f"{self.path}: weight '{their}' is missing")
        shape = tuple(self.tensors[their].shape)
        if len(shape) <= axis:
            raise ModelError(f"{self.path}: weight '{their}' has shape {shape}, wanted at least {axis + 1} axes")
        return shape[axis]

    def holds(self, prefix: str) -> bool:
        """Whether there is any weight in the part "a.b." """
        their = theirs(prefix, self.table)
        return any(name.startswith(their) for name in self.tensors)

    def count(self, template: str) -> int:
        """How many parts there are of "a.{}.": a.0., a.1. and so on."""
        number = 0
        while self.holds(template.format(number)):
            number += 1
        return number

    def taken(self, wanted: Tensors) -> dict[str, Tensor]:
        """Every weight that we want, under our name, in our shape and type. Raises ModelError on anything missing or left over."""
        names = {name: theirs(name, self.table) for name in wanted}
        if missing := sorted(set(names.values()) - self.tensors.keys()):
            raise ModelError(f"{self.path}: {_weights(missing)} missing")
        if unused := sorted(self.tensors.keys() - set(names.values())):
            raise ModelError(f"{self.path}: {_weights(unused)} not known to this format; refused rather than dropped")
        return {name: self._fitted(their, wanted[name]) for name, their in names.items()}

    def _fitted(self, name: str, wanted: Tensor) -> Tensor:
        """One weight; 1x1 convolutions and linear maps of channels are the same thing."""
        found = self.tensors[name]
        alike = _squeezed(found) == _squeezed(wanted)
        if not alike or not found.is_floating_point():
            raise ModelError(
                f"{self.path}: weight '{name}' is {found.dtype} {tuple(found.shape)}, wanted {wanted.dtype} {tuple(wanted.shape)}"
            )
        return found.detach().to(wanted.dtype).reshape(wanted.shape)


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a weight, that of a 1x1 convolution as that of a matrix."""
    shape = tuple(tensor.shape)
    return shape[:2] if len(shape) == 4 and shape[2:] == (1, 1) else shape


def _weights(names: Sequence[str]) -> str:
    """ "weights 'a', 'b', 'c' and 4 more are"."""
    told = ", ".join(f"'{name}'" for name in names[:NAMED])
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"weights {told}{rest} are" if len(names) > 1 else f"weight {told} is"
