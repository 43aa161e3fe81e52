"""The report of slopes against closed forms, and the plateau where theory has one."""

from __future__ import annotations

import pytest
import torch

from vitrail.errors import UsageError
from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.variance import report, slopes


def test_slopes_of_one_turn_are_a_sine() -> None:
    circuit = Circuit(qubits=1, layers=1, rotations="ry", embedding="none")
    weights = torch.linspace(0, 6, 9)[:, None]
    torch.testing.assert_close(slopes(circuit, weights, torch.zeros(9, 0)), -weights.sin())


def test_deep_circuits_have_a_plateau_and_products_have_none() -> None:
    deep = report(Circuit(layers=12), qubits=(2, 4, 6), draws=64)
    flat = report(Circuit(layers=2, entangler="none"), qubits=(2, 4, 6), draws=64)
    assert deep.factor < 0.75
    assert [row.anywhere for row in deep.rows] == sorted((row.anywhere for row in deep.rows), reverse=True)
    # the slopes are those of the first qubit alone, shared among the weights of all
    assert flat.rows[0].anywhere * 2 == pytest.approx(flat.rows[2].anywhere * 6, rel=0.5)
    assert "with every qubit" in str(deep)
    assert report(Circuit(layers=2), qubits=(2, 3), draws=4) == report(Circuit(layers=2), qubits=(2, 3), draws=4)


@pytest.mark.parametrize(
    ("circuit", "qubits", "told"),
    [
        (Circuit(), (4,), "at least two"),
        (Circuit(qubits=2, observables=("ZZ",)), (2, 4), "observables has to be null"),
        (Circuit(embedding="amplitude"), (2, 4), "data enter as angles"),
    ],
)
def test_what_cannot_be_compared_is_refused(circuit: Circuit, qubits: tuple[int, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        report(circuit, qubits)
