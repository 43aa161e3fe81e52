"""What turns states and can be undone: a circuit, and its classical twin."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn

from vitrail.networks.quantum.circuit import Barrier, Circuit, inverse, program
from vitrail.networks.quantum.statevector import StateVector

START = 0.1  # scatter of fresh angles, in radians: a circuit near the identity has slopes


class Unitary(nn.Module):
    """A circuit as a linear map of states (B, 2^n), which need not have length 1, and its inverse with the same weights."""

    def __init__(self, circuit: Circuit, real: bool) -> None:
        super().__init__()
        steps = tuple(
            step for step in program(circuit) if not isinstance(step, Barrier)
        )  # layers are fused where they touch
        self.weight = nn.Parameter(START * torch.randn(circuit.weights))
        self.forwards = StateVector(steps, circuit.qubits, real)
        self.backwards = StateVector(inverse(steps), circuit.qubits, real)

    def forward(self, state: Tensor) -> Tensor:
        return self._run(self.forwards, state)

    def undone(self, state: Tensor) -> Tensor:
        """The inverse."""
        return self._run(self.backwards, state)

    def _run(self, way: StateVector, state: Tensor) -> Tensor:
        with torch.autocast(state.device.type, enabled=False):
            return way(self.weight, self.weight.new_zeros(len(state), 0), state)


class Rotations(nn.Module):
    """As many angles without qubits: each turns pairs of amplitudes, which are paired as in a fast Fourier transform.

    Layer l pairs amplitudes whose numbers differ in their l-th bit, the most significant the 0th, which comes last. With a layer
    for every bit each amplitude hears of all; where angles are too few for all pairs, pairs share them, as they do a turn of a
    qubit. Lengths stay, as in a circuit.
    """

    def __init__(self, circuit: Circuit) -> None:
        super().__init__()
        self.qubits, self.pairs = circuit.qubits, 2 ** (circuit.qubits - 1)
        layers = min(circuit.weights, max(circuit.qubits, ceil(circuit.weights / self.pairs)))
        self.sizes = [circuit.weights // layers + (layer < circuit.weights % layers) for layer in range(layers)]
        self.weight = nn.Parameter(START * torch.randn(circuit.weights))

    def forward(self, state: Tensor) -> Tensor:
        for layer, angles in reversed(list(enumerate(self.weight.split(self.sizes)))):
            state = self._turned(state, layer, angles)
        return state

    def undone(self, state: Tensor) -> Tensor:
        """The inverse."""
        for layer, angles in enumerate(self.weight.split(self.sizes)):
            state = self._turned(state, layer, -angles)
        return state

    def _turned(self, state: Tensor, layer: int, angles: Tensor) -> Tensor:
        groups = 2 ** (layer % self.qubits)
        each = angles.repeat(ceil(self.pairs / len(angles)))[: self.pairs].view(groups, -1)
        low, high = state.view(len(state), groups, 2, -1).unbind(2)
        cos, sin = each.cos(), each.sin()
        return torch.stack([cos * low - sin * high, sin * low + cos * high], dim=2).flatten(1)
