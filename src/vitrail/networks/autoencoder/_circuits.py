"""How networks read circuits."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.layer import Execution, QuantumLayer, layer
from vitrail.networks.quantum.twin import ClassicalTwin

Kind = Literal["quantum", "classical"]
Reading = Literal["expectations", "pairs", "probabilities"]
Layer = QuantumLayer | ClassicalTwin


def read(circuit: Circuit, execution: Execution, kind: Kind, reading: Reading) -> Layer:
    """A circuit, or its classical twin, as a layer that puts out what is asked for."""
    if reading == "pairs":
        circuit = circuit.model_copy(update={"observables": singles_and_pairs(circuit.qubits)})
    return layer(circuit, execution, "probabilities" if reading == "probabilities" else "expectations", kind)


def singles_and_pairs(qubits: int) -> tuple[str, ...]:
    """Z of every qubit, then Z Z of every two."""
    groups = (*combinations(range(qubits), 1), *combinations(range(qubits), 2))
    return tuple("".join("Z" if wire in group else "I" for wire in range(qubits)) for group in groups)
