"""What is measured: bases, expectations, errors of reading, and shots."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vitrail.networks.quantum import pauli
from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.pauli import Measurement, confused, drawn, grouped, signs

STRINGS = ("ZIZ", "XXI", "IZZ", "YIX", "IXI", "III")


def random_states(count: int, qubits: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 2**qubits, dtype=torch.complex128))


def test_strings_that_agree_share_a_basis() -> None:
    assert grouped(("ZII", "IZI", "IIZ")) == {"ZZZ": (0, 1, 2)}
    assert grouped(("XII", "ZII", "IYI", "IIZ")) == {"XYZ": (0, 2, 3), "ZZZ": (1,)}
    assert sorted(member for members in grouped(STRINGS).values() for member in members) == list(range(len(STRINGS)))


def test_wide_states_are_read_without_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    states = random_states(3, 3)
    narrow = Measurement(STRINGS, 3)
    monkeypatch.setattr(pauli, "WIDE", 3)
    wide = Measurement(STRINGS, 3)
    assert not list(wide.buffers())
    torch.testing.assert_close(wide(wide.odds(states)), narrow(narrow.odds(states)))


def test_expectations_of_a_density_matrix_are_those_of_its_states() -> None:
    states = random_states(4, 3)
    density = (states[:, :, None] * states.conj()[:, None, :]).flatten(1)
    measure = Measurement(STRINGS, 3)
    mixed = measure(measure.odds(density.mean(0, keepdim=True), doubled=True))
    torch.testing.assert_close(mixed[0], measure(measure.odds(states)).mean(0))


def test_real_states_say_nothing_of_a_single_y() -> None:
    measure = Measurement(("YI", "YY"), 2)
    state = torch.tensor([[0.5, 0.5, 0.5, -0.5]], dtype=torch.float64)
    torch.testing.assert_close(measure(measure.odds(state)), torch.tensor([[0.0, 1.0]], dtype=torch.float64))


def test_errors_of_reading_are_the_confusion_matrix() -> None:
    odds = torch.rand(2, 32, dtype=torch.float64).softmax(1)
    bit = torch.tensor([[0.9, 0.3], [0.1, 0.7]], dtype=torch.float64)
    whole = bit
    for _ in range(4):
        whole = torch.kron(whole, bit)
    torch.testing.assert_close(confused(odds, (0.1, 0.3)), odds @ whole.mT)
    assert confused(odds, None) is odds


def test_reading_wrong_shifts_and_shrinks_expectations() -> None:
    states = random_states(3, 2)
    ideal, noisy = Measurement(("ZI", "IX"), 2), Measurement(("ZI", "IX"), 2, readout=(0.1, 0.3))
    clean = ideal(ideal.odds(states))
    torch.testing.assert_close(noisy(noisy.odds(states)), (1 - 0.1 - 0.3) * clean + (0.3 - 0.1))


def test_shots_add_up_and_follow_the_odds() -> None:
    odds = torch.tensor([[0.5, 0.0, 0.2, 0.3], [0.0, 0.0, 0.0, 1.0]])
    counts = drawn(odds, 100_000, torch.Generator().manual_seed(0))
    assert counts.sum(1).tolist() == [100_000, 100_000]
    assert counts[0, 1] == 0
    assert counts[1].tolist() == [0, 0, 0, 100_000]
    torch.testing.assert_close(counts / 100_000, odds, rtol=0, atol=0.006)  # 4 standard deviations


def test_shots_are_drawn_together() -> None:
    """Bits of one shot hang together: of a Bell pair both are always equal."""
    counts = drawn(torch.tensor([[0.5, 0, 0, 0.5]]), 1000, None)
    assert counts[0, 1] == counts[0, 2] == 0


def test_signs_are_products_of_bits() -> None:
    assert signs("ZIZ").tolist() == [1, -1, 1, -1, -1, 1, -1, 1]


def test_circuits_measure_in_their_own_basis(expected: Callable[..., Tensor]) -> None:
    circuit = Circuit(qubits=2, layers=0, embedding_axis="x", observables=("YI", "ZZ"))
    x = torch.tensor([0.3, 0.7], dtype=torch.float64)
    told = expected(circuit, torch.zeros(0), x)
    torch.testing.assert_close(told, torch.stack([-x[0].sin(), x[0].cos() * x[1].cos()]))
