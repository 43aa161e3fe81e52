"""An oracle: the same program as products of whole 2^n x 2^n matrices, for one sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce

import pytest
import torch
from torch import Tensor

from vitrail.networks.quantum.circuit import Circuit, Entangle, Turn, program

PAULI = {
    "I": torch.eye(2, dtype=torch.complex128),
    "X": torch.tensor([[0, 1], [1, 0]], dtype=torch.complex128),
    "Y": torch.tensor([[0, -1j], [1j, 0]], dtype=torch.complex128),
    "Z": torch.tensor([[1, 0], [0, -1]], dtype=torch.complex128),
}
Dense = Callable[[Circuit, Tensor, Tensor], Tensor]


def whole(qubits: int, placed: dict[int, Tensor]) -> Tensor:
    """The matrices on their wires, the identity elsewhere."""
    return reduce(torch.kron, [placed.get(wire, PAULI["I"]) for wire in range(qubits)])


def string(text: str) -> Tensor:
    return whole(len(text), {wire: PAULI[letter] for wire, letter in enumerate(text)})


def dense_state(circuit: Circuit, weights: Tensor, x: Tensor) -> Tensor:
    """The state (2^n,) at the end."""
    n, amplitudes = circuit.qubits, circuit.embedding == "amplitude"
    state = (x / x.norm() if amplitudes else torch.eye(2**n, dtype=torch.float64)[0]).to(torch.complex128)
    angles = x.repeat(circuit.layers) if circuit.embedding == "reupload" else x
    for step in program(circuit):
        if isinstance(step, Turn):
            angle = (weights if step.source == "weight" else angles)[step.index] * step.sign
            turned = (angle / 2).cos() * PAULI["I"] - 1j * (angle / 2).sin() * PAULI[step.axis.upper()]
            state = whole(n, {step.wire: turned}) @ state
        elif isinstance(step, Entangle):
            one = (PAULI["I"] - PAULI["Z"]) / 2
            done = PAULI["Z" if step.gate == "cz" else "X"] - PAULI["I"]
            state = state + whole(n, {step.wires[0]: one, step.wires[1]: done}) @ state
    return state


def dense_expectations(circuit: Circuit, weights: Tensor, x: Tensor) -> Tensor:
    """(S,) of the circuit's observables."""
    state = dense_state(circuit, weights, x)
    return torch.stack([(state.conj() @ string(text) @ state).real for text in circuit.measured])


@pytest.fixture
def expected() -> Dense:
    """Expectations by the oracle."""
    return dense_expectations


@pytest.fixture
def expected_state() -> Dense:
    """The state by the oracle."""
    return dense_state


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """Layers begin with weights of the global generator, and training draws from it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
