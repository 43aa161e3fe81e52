"""How steep the training of a circuit is at random weights: of many circuits, it falls exponentially with the qubits.

    print(report(Circuit(layers=8), qubits=(2, 4, 6, 8)))

Where weights move the loss ever less, training stalls (a barren plateau). The mean over weights says nothing, being about 0;
the variance does. Layers begin near the identity instead, where slopes are larger: the second column.
Source: McClean et al. 2018, "Barren plateaus in quantum neural network training landscapes".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log, pi

import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.networks.quantum.circuit import Circuit, Step, Turn, program
from vitrail.networks.quantum.layer import SPREAD
from vitrail.networks.quantum.pauli import Measurement
from vitrail.networks.quantum.statevector import StateVector


@dataclass(frozen=True)
class Row:
    """One number of qubits: the variance of the slope of the first observable, a mean over weights."""

    qubits: int
    weights: int
    anywhere: float  # with weights drawn over whole turns
    begun: float  # with weights as layers begin with


@dataclass(frozen=True)
class Report:
    """A table over the number of qubits."""

    rows: tuple[Row, ...]

    @property
    def factor(self) -> float:
        """By what the variance changes with every further qubit, weights drawn over whole turns; 1: not at all."""
        x = torch.tensor([float(row.qubits) for row in self.rows])
        y = torch.tensor([log(max(row.anywhere, 1e-300)) for row in self.rows])
        x, y = x - x.mean(), y - y.mean()
        return float((x @ y / (x @ x)).exp())

    def __str__(self) -> str:
        head = f"{'qubits':>6} {'weights':>8} {'variance of slopes':>20} {'as layers begin':>16}"
        lines = [f"{row.qubits:6} {row.weights:8} {row.anywhere:20.3g} {row.begun:16.3g}" for row in self.rows]
        return "\n".join((head, *lines, f"times {self.factor:.2f} with every qubit"))


def report(circuit: Circuit, qubits: Sequence[int] = (2, 4, 6, 8), draws: int = 256, seed: int = 0) -> Report:
    """Of the circuit with so many qubits each, over draws of weights and inputs. Raises UsageError for fewer than two numbers."""
    if len(set(qubits)) < 2:
        raise UsageError(f"a trend wants at least two numbers of qubits, got {list(qubits)}")
    if circuit.observables is not None or circuit.embedding == "amplitude":
        raise UsageError(
            "the report changes the number of qubits, so observables has to be null and data enter as angles"
        )
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for count in sorted(set(qubits)):
        sized = Circuit(**{**circuit.model_dump(), "qubits": count})
        whole = torch.rand(draws, sized.weights, generator=generator) * 2 * pi
        small = torch.randn(draws, sized.weights, generator=generator) * SPREAD
        angles = torch.rand(draws, sized.angles, generator=generator) * 2 * pi
        anywhere, begun = (float(slopes(sized, weights, angles).var(0).mean()) for weights in (whole, small))
        rows.append(Row(count, sized.weights, anywhere, begun))
    return Report(tuple(rows))


def slopes(circuit: Circuit, weights: Tensor, angles: Tensor) -> Tensor:
    """(draws, W) of the first observable by each weight.   weights: (draws, W).   angles: (draws, A)."""
    steps = tuple(_entered(step, circuit.weights) for step in program(circuit))
    weights = weights.clone().requires_grad_()
    evolve = StateVector(steps, circuit.qubits, circuit.real)
    measure = Measurement(circuit.measured[:1], circuit.qubits)
    told = measure(measure.odds(evolve(weights.new_zeros(0), torch.cat([weights, angles], dim=1))))
    return torch.autograd.grad(told.sum(), weights)[0]


def _entered(step: Step, weights: int) -> Step:
    """With weights as data, so that all draws are one batch: they come first, and what was data follows."""
    if not isinstance(step, Turn):
        return step
    return replace(step, source="input", index=step.index + (weights if step.source == "input" else 0))
