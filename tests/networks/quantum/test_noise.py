"""Noise: trajectories against density matrices, and these against what each error is known to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.layer import Execution, Noise, QuantumLayer
from vitrail.networks.quantum.noise import Channel, Trajectories, kraus, letters, superoperator

KINDS = ("depolarising", "bit-flip", "phase-flip", "amplitude-damping")
MANY = 20_000


def bloch(density: Tensor) -> list[float]:
    """x, y, z of one qubit's density matrix (1, 4), row by row."""
    a, b, _, d = density[0]
    return [2 * float(b.real), -2 * float(b.imag), float((a - d).real)]


@pytest.mark.parametrize(
    ("kind", "factor"),
    [("depolarising", (0.6, 0.6, 0.6)), ("bit-flip", (1, 0.4, 0.4)), ("phase-flip", (0.4, 0.4, 1))],
)
def test_pauli_errors_shrink_the_bloch_vector(kind: Any, factor: tuple[float, ...]) -> None:
    density = torch.tensor([[0.8, 0.1 - 0.2j, 0.1 + 0.2j, 0.2]], dtype=torch.complex128)
    struck = Channel((Noise(kind=kind, p=0.3),), 1)(density)
    assert bloch(struck) == pytest.approx([before * f for before, f in zip(bloch(density), factor, strict=True)])


def test_damping_lets_ones_fall() -> None:
    one = torch.tensor([[0.0, 0, 0, 1]], dtype=torch.complex128)
    assert Channel((Noise(kind="amplitude-damping", p=0.3),), 1)(one)[0].real.tolist() == pytest.approx(
        [0.3, 0, 0, 0.7]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_kraus_operators_keep_the_trace(kind: Any) -> None:
    operators = kraus(Noise(kind=kind, p=0.2))
    torch.testing.assert_close(sum(each.mH @ each for each in operators), torch.eye(2, dtype=torch.complex128))
    assert superoperator(Noise(kind=kind, p=0.2)).dtype == torch.float64


def test_errors_strike_wire_by_wire() -> None:
    """Of a product state, noise is that of each factor."""
    channel = (Noise(kind="amplitude-damping", p=0.4), Noise(kind="bit-flip", p=0.1))
    first, second = (torch.nn.functional.normalize(torch.randn(2, dtype=torch.complex128), dim=0) for _ in range(2))
    single = [torch.outer(state, state.conj()) for state in (first, second)]
    both = torch.kron(*single).view(1, 16)
    struck = torch.kron(*(Channel(channel, 1)(each.view(1, 4)).view(2, 2) for each in single))
    torch.testing.assert_close(Channel(channel, 2)(both).view(4, 4), struck)


def test_the_letters_of_an_error_are_its_whole() -> None:
    assert sum(p for _, p in letters(Noise(p=0.3))) == pytest.approx(1)


def test_states_keep_their_length_on_every_trajectory() -> None:
    struck = Trajectories((Noise(p=0.9), Noise(kind="phase-flip", p=0.5)), 3)(
        torch.nn.functional.normalize(torch.randn(64, 8, dtype=torch.complex64))
    )
    torch.testing.assert_close(struck.norm(dim=1), torch.ones(64))


@pytest.mark.parametrize("rotations", ["ry", "ry-rz"])
@pytest.mark.parametrize("noise", [("depolarising",), ("bit-flip", "phase-flip")])
def test_trajectories_equal_the_density_matrix(rotations: Any, noise: tuple[Any, ...]) -> None:
    circuit = Circuit(qubits=3, layers=2, rotations=rotations, observables=("ZII", "IZZ", "XIX"))
    errors = tuple(Noise(kind=kind, p=0.1) for kind in noise)
    exact = QuantumLayer(circuit, Execution(noise=errors, method="density"))
    drawn = QuantumLayer(circuit, Execution(noise=errors, method="trajectories", trajectories=MANY))
    ideal = QuantumLayer(circuit)
    torch.nn.init.uniform_(exact.weight, -3, 3)
    for other in (drawn, ideal):
        other.load_state_dict(exact.state_dict())
    x = torch.randn(1, 3)
    told = {layer: layer(x) for layer in (exact, drawn, ideal)}
    slopes = {layer: torch.autograd.grad(out.sum(), layer.weight)[0] for layer, out in told.items()}
    error = 4 / MANY**0.5  # a trajectory is at most 1 off
    assert (told[drawn] - told[exact]).abs().max() < error
    assert (slopes[drawn] - slopes[exact]).abs().max() < 2 * error
    assert (told[ideal] - told[exact]).abs().max() > 3 * error  # so that the test can tell


def test_damping_asks_for_the_density_matrix() -> None:
    damping = (Noise(kind="amplitude-damping", p=0.2),)
    assert Execution(noise=damping).density(qubits=9)
    assert not Execution(noise=(Noise(),)).density(qubits=9)
    assert Execution(noise=(Noise(),)).density(qubits=3)
    with pytest.raises(ValueError, match="use method density"):
        Execution(noise=damping, method="trajectories")


def test_outside_training_equal_batches_give_equal_answers() -> None:
    layer = QuantumLayer(Circuit(qubits=3), Execution(noise=(Noise(p=0.2),), method="trajectories", shots=100)).eval()
    x = torch.randn(4, 3)
    assert torch.equal(layer(x), layer(x))
    layer.train()
    assert not torch.equal(layer(x), layer(x))
