"""The classical twin: exactly as many weights, all of them in use."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.layer import QuantumLayer, layer
from vitrail.networks.quantum.twin import ClassicalTwin

CIRCUITS = [
    Circuit(qubits=qubits, layers=layers, rotations=rotations, embedding=embedding)
    for qubits, layers, rotations, embedding in product(
        (2, 4, 6, 8), (1, 3, 8), ("ry", "rot"), ("angle", "reupload", "modulated", "amplitude", "none")
    )
]


@pytest.mark.parametrize("read", ["expectations", "probabilities"])
def test_it_has_exactly_as_many_weights_and_uses_them(read: Any) -> None:
    for circuit in CIRCUITS:
        twin = layer(circuit, read=read, kind="classical")
        out = twin(torch.randn(3, twin.inputs))
        assert out.shape == (3, twin.outputs)
        (out * torch.randn_like(out)).sum().backward()
        (weight,) = twin.parameters()
        assert weight.shape == (circuit.weights,)
        assert weight.grad is not None
        assert weight.grad.ne(0).float().mean() > 0.95, circuit


@pytest.mark.parametrize("read", ["expectations", "probabilities"])
def test_it_hears_its_inputs(read: Any) -> None:
    for circuit in CIRCUITS:
        if circuit.inputs:
            out = layer(circuit, read=read, kind="classical")(torch.randn(8, circuit.inputs))
            assert out.std(0).max() > 1e-3, circuit


def test_autocast_stays_outside() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        for read in ("expectations", "probabilities"):
            twin = layer(Circuit(qubits=4), read=read, kind="classical")
            assert twin(torch.randn(3, twin.inputs).bfloat16()).dtype == torch.float32


def test_its_answers_are_like_a_circuits() -> None:
    circuit = Circuit(qubits=4)
    x = 10 * torch.randn(50, 4)
    assert QuantumLayer(circuit).classical_twin()(x).abs().max() <= 1
    odds = QuantumLayer(circuit, read="probabilities").classical_twin()(x)
    torch.testing.assert_close(odds.sum(1), torch.ones(50))
    bits = QuantumLayer(circuit, read="sample").classical_twin()(x)
    assert set(bits.flatten().tolist()) <= {0.0, 1.0}


def test_without_inputs_it_learns_any_distribution_of_few_bits() -> None:
    twin = ClassicalTwin(inputs=0, outputs=8, weights=7, read="probabilities", qubits=3)
    wanted = torch.tensor([0.3, 0.05, 0.1, 0.05, 0.2, 0.05, 0.05, 0.2])
    optimizer = torch.optim.LBFGS(twin.parameters(), max_iter=100)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = -(wanted * twin(torch.zeros(1, 0))[0].log()).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(twin(torch.zeros(1, 0))[0], wanted, rtol=0, atol=0.01)
