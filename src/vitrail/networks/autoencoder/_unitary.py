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
    """As many angles without qubits: each turns one pair of amplitudes, pairs as in a fast Fourier transform.

    Layer l pairs amplitudes whose numbers differ in their l-th bit, the most significant the 0th. It comes last, so that what is
    kept of the first amplitudes hears of all; the one that comes first may be incomplete. Lengths stay, as in a circuit.
    """

    def __init__(self, circuit: Circuit) -> None:
        super().__init__()
        self.qubits, half = circuit.qubits, 2 ** (circuit.qubits - 1)
        self.layers = ceil(circuit.weights / half)
        self.weight = nn.Parameter(START * torch.randn(circuit.weights))

    def forward(self, state: Tensor) -> Tensor:
        for layer in reversed(range(self.layers)):
            state = self._turned(state, layer, 1.0)
        return state

    def undone(self, state: Tensor) -> Tensor:
        """The inverse."""
        for layer in range(self.layers):
            state = self._turned(state, layer, -1.0)
        return state

    def _turned(self, state: Tensor, layer: int, sign: float) -> Tensor:
        half = 2 ** (self.qubits - 1)
        angles = self.weight[layer * half : (layer + 1) * half]
        angles = sign * nn.functional.pad(angles, (0, half - len(angles))).view(2 ** (layer % self.qubits), -1)
        low, high = state.view(len(state), 2 ** (layer % self.qubits), 2, -1).unbind(2)
        cos, sin = angles.cos(), angles.sin()
        return torch.stack([cos * low - sin * high, sin * low + cos * high], dim=2).flatten(1)
