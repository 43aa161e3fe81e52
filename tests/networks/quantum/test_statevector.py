"""The kernel against whole matrices: outputs, and gradients of weights and inputs, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.networks.quantum import statevector
from vitrail.networks.quantum.circuit import Circuit, Entangle, Turn, inverse, program
from vitrail.networks.quantum.layer import QuantumLayer
from vitrail.networks.quantum.statevector import StateVector, check_memory, cuts, kron, tie

EMBEDDINGS = ("angle", "reupload", "modulated", "amplitude", "none")
OBSERVABLES = ("ZII", "IXY", "YYI", "XZX", "III", "IIY", "ZZI")
LAYERS: list[dict[str, Any]] = [
    *(
        {"entangler": entangler, "gate": gate}
        for entangler, gate in product(("ring", "linear", "all", "none"), ("cz", "cnot"))
    ),
    *({"ansatz": "strongly-entangling", "entangler": entangler} for entangler in ("ring", "none")),
    *({"ansatz": "tree", "qubits": 4, "entangler": entangler} for entangler in ("ring", "none")),
]


def circuits(settings: dict[str, Any]) -> Iterator[Circuit]:
    """With every embedding and every kind of rotation, about each axis in turn."""
    rotations = ("ry", "ry-rz", "rot") if "ansatz" not in settings else ("ry",)
    for number, (embedding, turned) in enumerate(product(EMBEDDINGS, rotations)):
        circuit = {"qubits": 3, "layers": 2, "embedding": embedding, "embedding_axis": "xy"[number % 2], **settings}
        extra = "I" * (circuit["qubits"] - 3)
        yield Circuit(**circuit, rotations=turned, observables=tuple(text + extra for text in OBSERVABLES))


def double(circuit: Circuit, **settings: Any) -> QuantumLayer:
    """A layer in float64 whose angles are not small."""
    made = QuantumLayer(circuit, **settings).double()
    torch.nn.init.uniform_(made.weight, -3, 3)
    return made


def slopes(told: Tensor, weight: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of a mixture of all outputs, zero where nothing depends on an input."""
    mixed = (told * torch.linspace(-1, 2, told.numel(), dtype=told.dtype).view_as(told)).sum()
    by_weight, by_input = torch.autograd.grad(mixed, [weight, x], allow_unused=True)
    return by_weight, torch.zeros_like(x) if by_input is None else by_input


@pytest.mark.parametrize("kept", [statevector.KEPT, 0], ids=["autograd", "adjoint"])
@pytest.mark.parametrize("settings", LAYERS, ids=lambda settings: "-".join(str(each) for each in settings.values()))
def test_equals_the_oracle(
    settings: dict[str, Any], kept: int, expected: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statevector, "KEPT", kept)
    for circuit in circuits(settings):
        layer = double(circuit)
        x = torch.randn(2, layer.inputs, dtype=torch.float64).requires_grad_()
        ours = layer(x)
        theirs = torch.stack([expected(circuit, layer.weight, each) for each in x])
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
        for own, their in zip(slopes(ours, layer.weight, x), slopes(theirs, layer.weight, x), strict=True):
            torch.testing.assert_close(own, their, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rotations", ["ry", "rot"])
def test_states_and_odds_equal_the_oracle(rotations: Any, expected_state: Callable[..., Tensor]) -> None:
    circuit = Circuit(qubits=5, rotations=rotations, gate="cnot")  # two blocks
    states, odds = double(circuit, read="state"), double(circuit, read="probabilities")
    odds.load_state_dict(states.state_dict())
    x = torch.randn(3, 5, dtype=torch.float64)
    theirs = torch.stack([expected_state(circuit, states.weight, each) for each in x])
    assert states(x).is_complex() == (rotations == "rot")
    torch.testing.assert_close(states(x).to(theirs.dtype), theirs, rtol=0, atol=1e-12)
    torch.testing.assert_close(odds(x), theirs.abs().square(), rtol=0, atol=1e-12)
    torch.testing.assert_close(odds(x).sum(1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("rotations", ["ry", "ry-rz"])
@pytest.mark.parametrize("embedding", ["angle", "reupload", "amplitude"])
def test_a_density_matrix_is_the_outer_product_of_its_state(rotations: Any, embedding: Any) -> None:
    circuit = Circuit(qubits=3, layers=2, rotations=rotations, embedding=embedding, gate="cnot")
    weights = torch.randn(circuit.weights, dtype=torch.float64)
    angles = torch.randn(2, circuit.angles, dtype=torch.float64)
    begun = torch.nn.functional.normalize(torch.randn(2, 8, dtype=torch.float64)) if embedding == "amplitude" else None
    state = StateVector(program(circuit), 3, circuit.real)(weights, angles, begun)
    density = StateVector(program(circuit), 3, circuit.real, doubled=True)(weights, angles, begun)
    torch.testing.assert_close(density.view(2, 8, 8), state[:, :, None] * state.conj()[:, None, :])


@pytest.mark.parametrize("ansatz", ["hardware-efficient", "strongly-entangling", "tree"])
def test_the_inverse_undoes(ansatz: Any) -> None:
    circuit = Circuit(qubits=4, ansatz=ansatz, embedding="none")
    steps = program(circuit)
    weights, none = torch.randn(circuit.weights, dtype=torch.float64), torch.zeros(3, 0, dtype=torch.float64)
    begun = torch.nn.functional.normalize(torch.randn(3, 16, dtype=torch.float64))
    there = StateVector(steps, 4, circuit.real)(weights, none, begun)
    back = StateVector(inverse(steps), 4, circuit.real)(weights, none, there)
    torch.testing.assert_close(back.real if back.is_complex() else back, begun)


def test_gradcheck_of_the_adjoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statevector, "KEPT", 0)
    circuit = Circuit(qubits=3, layers=2, embedding="reupload", gate="cnot")
    layer = double(circuit)
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)

    def told(weight: Tensor, x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(layer, {"weight": weight}, (x,))
        return out

    assert torch.autograd.gradcheck(told, (layer.weight, x))


@pytest.mark.parametrize(
    ("gate", "states"), [("cz", {0b11: -1}), ("cnot", {0b10: 0b11, 0b11: 0b10, 0b01: 0b01, 0b00: 0b00})]
)
def test_truth_tables(gate: str, states: dict[int, int]) -> None:
    table = tie(gate, ((0, 1),), 2)
    if gate == "cz":
        assert table.tolist() == [states.get(index, 1) for index in range(4)]
        return
    state = torch.eye(4)[:, table[0]]  # row k begins as |k>
    assert {index: int(row.argmax()) for index, row in enumerate(state)} == states


def test_half_turns_flip_their_wire() -> None:
    for wire in range(3):
        for axis in ("x", "y"):
            steps = (Turn(axis, wire, "weight", 0),)
            state = StateVector(steps, 3, real=False)(torch.tensor([torch.pi]), torch.zeros(1, 0))
            assert int(state.abs().argmax()) == 1 << (2 - wire)


def test_chains_of_cnot_act_in_order() -> None:
    steps = (Turn("y", 0, "weight", 0), Entangle("cnot", (0, 1)), Entangle("cnot", (1, 2)))
    state = StateVector(steps, 3, real=True)(torch.tensor([torch.pi]), torch.zeros(1, 0))
    assert int(state.abs().argmax()) == 0b111


def test_layers_alike_share_a_table() -> None:
    names = [name for name, _ in StateVector(program(Circuit(layers=9)), 6, real=False).named_buffers()]
    ties = [name for name in names if name.startswith("table")]
    assert len(ties) == 1 + 1 + 2 * 9  # the embedding, the entangler, and two numbered moments of each layer


def test_blocks_are_even_and_kron_is_krons() -> None:
    assert cuts(9, 4) == [(0, 3), (3, 6), (6, 9)]
    matrices = torch.randn(3, 2, 2)
    torch.testing.assert_close(kron(matrices), torch.kron(torch.kron(matrices[0], matrices[1]), matrices[2]))


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"states of 2\^28 numbers want .* use fewer qubits or a smaller batch"):
        check_memory(1 << 20, 28, torch.zeros(1))


def test_moving_to_another_number_format_keeps_the_tables() -> None:
    circuit = Circuit(qubits=3)
    moved = QuantumLayer(circuit).to(torch.float64)
    again = QuantumLayer(circuit).double()
    again.load_state_dict(moved.state_dict())
    x = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(moved(x), again(x), rtol=0, atol=0)
