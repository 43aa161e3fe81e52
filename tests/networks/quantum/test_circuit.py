"""Programs: what is in them, what undoes them, and which circuits are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vitrail.networks.quantum.circuit import Barrier, Circuit, Entangle, Turn, inverse, program


def pairs(circuit: Circuit) -> list[tuple[int, int]]:
    return [step.wires for step in program(circuit) if isinstance(step, Entangle)]


@pytest.mark.parametrize(
    ("entangler", "found"),
    [
        ("ring", [(0, 1), (1, 2), (2, 3), (3, 0)]),
        ("linear", [(0, 1), (1, 2), (2, 3)]),
        ("all", [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]),
        ("none", []),
    ],
)
def test_entanglers_join_what_they_say(entangler: str, found: list[tuple[int, int]]) -> None:
    assert pairs(Circuit(qubits=4, layers=1, entangler=entangler)) == found  # type: ignore[arg-type]


def test_a_ring_of_two_is_a_line() -> None:
    assert pairs(Circuit(qubits=2, layers=1)) == [(0, 1)]


def test_strongly_entangling_layers_reach_farther_each_time() -> None:
    found = pairs(Circuit(qubits=3, layers=3, ansatz="strongly-entangling"))
    assert found == [(0, 1), (1, 2), (2, 0), (0, 2), (1, 0), (2, 1), (0, 1), (1, 2), (2, 0)]


def test_a_tree_joins_pairs_of_pairs() -> None:
    tree = Circuit(qubits=4, layers=1, ansatz="tree")
    assert pairs(tree) == [(1, 0), (3, 2), (2, 0)]
    assert tree.weights == 6


@pytest.mark.parametrize(
    ("embedding", "inputs", "angles"),
    [("angle", 3, 3), ("reupload", 3, 6), ("modulated", 6, 6), ("amplitude", 8, 0), ("none", 0, 0)],
)
def test_inputs_and_the_turns_by_them(embedding: str, inputs: int, angles: int) -> None:
    circuit = Circuit(qubits=3, layers=2, embedding=embedding)  # type: ignore[arg-type]
    turns = [step for step in program(circuit) if isinstance(step, Turn) and step.source == "input"]
    assert (circuit.inputs, circuit.angles, len(turns)) == (inputs, angles, angles)
    assert sorted(step.index for step in turns) == list(range(angles))


@pytest.mark.parametrize(("rotations", "each"), [("ry", 1), ("ry-rz", 2), ("rot", 3)])
def test_weights_are_counted(rotations: str, each: int) -> None:
    circuit = Circuit(qubits=4, layers=2, rotations=rotations)  # type: ignore[arg-type]
    assert circuit.weights == 8 * each
    assert circuit.real == (rotations == "ry")
    assert circuit.unentangled().weights == circuit.weights


def test_layers_end_with_a_barrier_and_the_inverse_runs_backwards() -> None:
    steps = program(Circuit(qubits=2, layers=2))
    assert sum(isinstance(step, Barrier) for step in steps) == 2
    assert isinstance(steps[-1], Barrier)
    back = inverse(steps)
    first = next(step for step in back if isinstance(step, Turn))
    assert (first.axis, first.wire, first.sign) == ("z", 1, -1)
    assert inverse(back) == steps


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"ansatz": "tree", "qubits": 6}, "power of 2"),
        ({"ansatz": "strongly-entangling", "entangler": "all"}, "entangler is ring or none"),
        ({"observables": ("ZZ",)}, "no string of 6 letters"),
        ({"observables": ("ABCDEF",)}, "no string of 6 letters"),
        ({"observables": ()}, "at least 1"),
        ({"qubits": 29}, "less than or equal to 28"),
        ({"qubits": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_circuits_are_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Circuit(**wrong)  # type: ignore[arg-type]
