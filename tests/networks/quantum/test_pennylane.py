"""Devices of PennyLane from the same program: the second implementation that the kernel must equal."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail.errors import UsageError
from vitrail.networks.quantum import pennylane as devices
from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.layer import Execution, Noise, QuantumLayer

qml = pytest.importorskip("pennylane", reason="PennyLane is not installed: pip install 'vitrail[quantum]'")

OBSERVABLES = ("ZII", "IXY", "YYI", "ZZI", "III")
LAYERS: list[dict[str, Any]] = [
    {"gate": "cz", "rotations": "rot"},
    {"gate": "cnot", "entangler": "all"},
    {"entangler": "linear", "rotations": "ry"},
    {"ansatz": "strongly-entangling"},
    {"ansatz": "tree", "qubits": 4},
]


def pair(
    circuit: Circuit, execution: Execution, read: Any = "expectations", **ours: Any
) -> tuple[QuantumLayer, QuantumLayer]:
    """Our layer and the device's, with the same weights, in float64."""
    own = QuantumLayer(circuit, Execution(**ours), read).double()
    torch.nn.init.uniform_(own.weight, -3, 3)
    other = QuantumLayer(circuit, execution, read).double()
    other.load_state_dict(own.state_dict())
    return own, other


def slopes(net: QuantumLayer, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    told = net(x)
    mixed = (told * torch.linspace(-1, 2, told.numel(), dtype=told.dtype).view_as(told)).sum()
    return told, list(torch.autograd.grad(mixed, [net.weight, x] if x.requires_grad else [net.weight]))


def assert_alike(own: QuantumLayer, other: QuantumLayer, x: Tensor, slope: float = 1e-10) -> None:
    ours, theirs = slopes(own, x), slopes(other, x)
    torch.testing.assert_close(theirs[0], ours[0], rtol=0, atol=1e-10)
    for one, two in zip(theirs[1], ours[1], strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=slope)


def inputs(circuit: Circuit, rows: int = 3) -> Tensor:
    x = torch.randn(rows, circuit.inputs, dtype=torch.float64)
    return x.requires_grad_(circuit.angles > 0)


@pytest.mark.parametrize("embedding", ["angle", "reupload", "modulated", "amplitude", "none"])
@pytest.mark.parametrize("settings", LAYERS, ids=lambda settings: "-".join(str(each) for each in settings.values()))
def test_equals_default_qubit(settings: dict[str, Any], embedding: Any) -> None:
    circuit = Circuit(**{"qubits": 3, "layers": 2, "embedding": embedding, **settings})
    strings = tuple(text + "I" * (circuit.qubits - 3) for text in OBSERVABLES)
    circuit = circuit.model_copy(update={"observables": strings})
    assert_alike(*pair(circuit, Execution(backend="default.qubit")), inputs(circuit))


@pytest.mark.parametrize(("gradient", "rows"), [("auto", 3), ("parameter-shift", 1), ("parameter-shift", 3)])
def test_odds_and_shifts_equal_default_qubit(gradient: Any, rows: int) -> None:
    circuit = Circuit(qubits=2, layers=1, embedding="reupload")
    for read in ("expectations", "probabilities"):
        own, other = pair(circuit, Execution(backend="default.qubit", gradient=gradient), read)
        assert_alike(own, other, inputs(circuit, rows))


def test_states_equal_default_qubit() -> None:
    circuit = Circuit(qubits=3, layers=2)
    own, other = pair(circuit, Execution(backend="default.qubit"), "state")
    x = inputs(circuit)
    torch.testing.assert_close(other(x), own(x), rtol=0, atol=1e-10)


def test_equals_lightning_by_the_adjoint() -> None:
    if "lightning.qubit" not in devices.installed():
        pytest.skip("PennyLane-Lightning is not installed")
    circuit = Circuit(qubits=3, layers=2, embedding="reupload")
    own, other = pair(circuit, Execution(backend="lightning.qubit"))
    assert other.run.gradient == "adjoint"
    assert_alike(own, other, inputs(circuit), slope=1e-6)  # which PennyLane puts through float32


def test_strongly_entangling_layers_are_pennylanes() -> None:
    circuit = Circuit(qubits=4, layers=3, ansatz="strongly-entangling", embedding="none")
    own = QuantumLayer(circuit, read="state").double()

    @qml.qnode(qml.device("default.qubit", wires=4))
    def node() -> Any:
        qml.StronglyEntanglingLayers(own.weight.detach().view(3, 4, 3), wires=range(4))
        return qml.state()

    torch.testing.assert_close(own(torch.zeros(1, 0))[0], node(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["depolarising", "bit-flip", "phase-flip", "amplitude-damping"])
def test_density_matrices_equal_default_mixed(kind: Any) -> None:
    noise = (Noise(kind=kind, p=0.15), Noise(kind="bit-flip", p=0.02))
    circuit = Circuit(qubits=2, layers=2, embedding="reupload", observables=("ZI", "ZZ"))
    execution = Execution(backend="default.mixed", noise=noise, readout=(0.05, 0.2))
    own, other = pair(circuit, execution, noise=noise, readout=(0.05, 0.2), method="density")
    assert_alike(own, other, inputs(circuit, 2))


def test_trajectories_equal_default_mixed_within_their_error() -> None:
    noise, many = (Noise(p=0.05),), 20_000
    circuit = Circuit(qubits=3, layers=3)
    execution = Execution(backend="default.mixed", noise=noise)
    own, other = pair(circuit, execution, noise=noise, method="trajectories", trajectories=many)
    x = inputs(circuit, 1)
    (ours, drawn), (theirs, exact) = slopes(own, x), slopes(other, x)
    error = 4 / many**0.5
    assert (ours - theirs).abs().max() < error
    assert all((one - two).abs().max() < 4 * error for one, two in zip(drawn, exact, strict=True))


def test_shots_scatter_about_the_exact_value() -> None:
    circuit = Circuit(qubits=2, layers=1)
    own, other = pair(circuit, Execution(backend="default.qubit", shots=4000, options={"seed": 1}))
    assert other.run.gradient == "parameter-shift"
    x = inputs(circuit, 2)
    (ours, exact), (theirs, drawn) = slopes(own, x), slopes(other, x)
    assert 0 < (ours - theirs).abs().max() < 4 / 4000**0.5
    assert 0 < (exact[0] - drawn[0]).abs().max() < 0.3
    assert exact[1].shape == drawn[1].shape


@pytest.mark.parametrize("embedding", ["angle", "none"])
def test_samples_are_bits(embedding: Any) -> None:
    circuit = Circuit(qubits=2, layers=1, embedding=embedding)
    bits = QuantumLayer(circuit, Execution(backend="default.qubit"), "sample")(inputs(circuit, 5))
    assert bits.shape == (5, 2)
    assert set(bits.flatten().tolist()) <= {0.0, 1.0}


def test_aer_with_a_noise_model_end_to_end() -> None:
    if "qiskit.aer" not in devices.installed() or importlib.util.find_spec("qiskit_aer") is None:
        pytest.skip("PennyLane-Qiskit and Qiskit Aer are not installed: pip install 'vitrail[quantum-qiskit]'")
    noise, readout = (Noise(p=0.1), Noise(kind="amplitude-damping", p=0.1)), (0.02, 0.1)
    circuit = Circuit(qubits=2, layers=2)
    own, other = pair(
        circuit, Execution(backend="qiskit.aer", shots=8192, noise=noise, readout=readout), noise=noise, readout=readout
    )
    ideal = QuantumLayer(circuit).double()
    ideal.load_state_dict(own.state_dict())
    x = inputs(circuit, 2)
    (ours, exact), (theirs, drawn) = slopes(own, x), slopes(other, x)
    assert (ours - theirs).abs().max() < 5 / 8192**0.5
    assert (ideal(x) - ours).abs().max() > 5 / 8192**0.5  # so that the noise is seen
    for wanted, found in zip(exact, drawn, strict=True):
        assert (wanted - found).abs().max() < 0.2


def test_weights_move_between_backends_and_copies_share_a_device() -> None:
    circuit = Circuit(qubits=2, layers=1)
    own, other = pair(circuit, Execution(backend="default.qubit"))
    assert list(own.state_dict()) == list(other.state_dict()) == ["weight"]
    assert copy.deepcopy(other).run is other.run
    assert other.float()(torch.zeros(1, 2)).dtype == torch.float32


def test_what_may_be_hardware_runs_only_as_much_as_is_allowed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(devices, "LOCAL", ())
    layer = QuantumLayer(Circuit(qubits=2, layers=1), Execution(backend="default.qubit", shots=100))
    with pytest.raises(UsageError, match=r"sends 39 circuits of 100 shots; set VITRAIL_CIRCUITS") as caught:
        layer(torch.zeros(3, 2))
    assert "\n" not in str(caught.value)
    monkeypatch.setenv(devices.ALLOWED, "5")
    layer.requires_grad_(False)(torch.zeros(3, 2))
    assert caplog.messages == ["sending 3 circuits of 100 shots to default.qubit; 2 more are allowed"]
    with pytest.raises(UsageError, match=r"sends 3 circuits of 100 shots.* of which 2 are left"):
        layer(torch.zeros(3, 2))
    monkeypatch.setenv(devices.ALLOWED, "many")
    with pytest.raises(UsageError, match="VITRAIL_CIRCUITS=many is no whole number"):
        layer(torch.zeros(3, 2))


def test_jobs_are_estimated() -> None:
    assert devices.circuits(Circuit(qubits=4, layers=3), batch=4) == 4 * (1 + 2 * (24 + 4))
    assert devices.circuits(Circuit(qubits=4, layers=3), batch=4, trained=False) == 4
    assert devices.circuits(Circuit(qubits=2, layers=1, observables=("XX", "ZZ")), batch=1, trained=False) == 2


@pytest.mark.parametrize(
    ("settings", "read", "told"),
    [
        (
            {"backend": "default.qbit"},
            "expectations",
            r"did you mean 'default.qubit'\? \(there is: torch",
        ),
        (
            {"backend": "default.qubit", "shots": 9, "gradient": "exact"},
            "expectations",
            "no exact gradient of expectations with",
        ),
        ({"backend": "default.qubit", "noise": (Noise(),)}, "expectations", "noise and readout errors are computed by"),
        ({"backend": "default.clifford"}, "expectations", "wants a number of shots"),
        ({"backend": "default.mixed"}, "state", "does not give states"),
    ],
)
def test_what_a_device_cannot_do_is_refused_at_once(settings: dict[str, Any], read: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        QuantumLayer(Circuit(qubits=2), Execution(**settings), read)
    assert "\n" not in str(caught.value)


def test_an_option_that_the_device_does_not_know_is_told_in_one_line() -> None:
    layer = QuantumLayer(Circuit(qubits=2), Execution(backend="default.qubit", options={"colour": 1}))
    with pytest.raises(UsageError, match=r"device 'default.qubit' cannot be made: .*colour"):
        layer(torch.zeros(1, 2))


def test_without_pennylane_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'vitrail\[quantum\]'"):
        QuantumLayer(Circuit(qubits=2), Execution(backend="lightning.qubit"))
