"""The layer: shapes, shots, gradients by parameter-shift, and what it refuses."""

from __future__ import annotations

import copy
from itertools import product
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from vitrail.errors import DataError, UsageError
from vitrail.networks.quantum import simulator
from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.layer import Execution, Noise, QuantumLayer, Read, layer

SMALL = Circuit(qubits=3, layers=2)
EMBEDDINGS = ("angle", "reupload", "modulated", "amplitude", "none")


@pytest.mark.parametrize(
    ("read", "embedding", "kind"), [*product(get_args(Read), EMBEDDINGS, ("quantum", "classical"))]
)
def test_shapes(read: Any, embedding: Any, kind: Any) -> None:
    circuit = SMALL.model_copy(update={"embedding": embedding})
    if (read, kind) == ("state", "classical"):
        with pytest.raises(UsageError, match="no classical twin"):
            layer(circuit, read=read, kind=kind)
        return
    net = layer(circuit, read=read, kind=kind)
    out = net(torch.rand(5, net.inputs) + 0.1)
    assert out.shape == (5, net.outputs)
    assert sum(weight.numel() for weight in net.parameters()) == circuit.weights
    assert list(net.state_dict()) == ["weight"]
    if read != "sample":
        out.abs().square().sum().backward()
        assert net.last.grad is not None
        assert net.last.grad.isfinite().all()
    if read == "probabilities":
        torch.testing.assert_close(out.sum(1), torch.ones(5))


def test_samples_are_bits_by_their_odds() -> None:
    bits = QuantumLayer(Circuit(qubits=2, layers=0), read="sample")
    x = torch.tensor([[torch.pi, torch.pi / 2]]).expand(4000, 2)
    told = bits(x)
    assert told[:, 0].eq(1).all()
    assert 0.45 < told[:, 1].mean() < 0.55


def test_the_unentangled_layer_is_a_product() -> None:
    layer = QuantumLayer(SMALL).unentangled()
    x = torch.randn(2, 3)
    moved = x.clone()
    moved[:, 0] += 1
    change = (layer(x) - layer(moved)).abs()
    assert change[:, 1:].max() < 1e-6
    assert change[:, 0].min() > 1e-3


def test_it_is_built_without_memory_and_is_copied() -> None:
    noisy = Execution(noise=(Noise(),), readout=(0.1, 0.1))
    with torch.device("meta"):
        assert QuantumLayer(SMALL, noisy).weight.is_meta
        assert layer(SMALL, kind="classical").weight.is_meta
    built = QuantumLayer(SMALL, noisy).eval()
    x = torch.randn(2, 3)
    assert torch.equal(copy.deepcopy(built)(x), built(x))


def test_half_precision_stays_outside() -> None:
    built = QuantumLayer(SMALL)
    x = torch.randn(2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        told = built(x)
    assert told.dtype == torch.float32
    assert torch.equal(told, built(x))
    assert built.bfloat16()(x.bfloat16()).dtype == torch.float32


def test_without_gradient_chunks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    built = QuantumLayer(SMALL)
    x = torch.randn(7, 3)
    whole = built(x)
    monkeypatch.setattr(simulator, "CHUNK", 2 * 8 * 8)  # two samples
    with torch.no_grad():
        torch.testing.assert_close(built(x), whole)
        assert built(x[:0]).shape == (0, 3)


@pytest.mark.parametrize("observables", [None, ("XII", "ZZI", "IYX")])
def test_the_error_of_shots_falls_with_their_root(observables: tuple[str, ...] | None) -> None:
    circuit = SMALL.model_copy(update={"observables": observables})
    exact = QuantumLayer(circuit)
    torch.nn.init.uniform_(exact.weight, -3, 3)
    x = torch.randn(1, 3)
    errors = []
    for shots in (100, 1600, 25_600):
        drawn = QuantumLayer(circuit, Execution(shots=shots))
        drawn.load_state_dict(exact.state_dict())
        with torch.no_grad():
            errors.append(float((drawn(x.expand(800, 3)) - exact(x)).square().mean().sqrt()))
    variance = float((1 - exact(x).detach().square()).mean())
    for error, shots in zip(errors, (100, 1600, 25_600), strict=True):
        assert error == pytest.approx((variance / shots) ** 0.5, rel=0.1)


def test_shots_of_odds_are_shares() -> None:
    told = QuantumLayer(SMALL, Execution(shots=10), read="probabilities")(torch.randn(6, 3))
    torch.testing.assert_close(told.sum(1), torch.ones(6))
    torch.testing.assert_close(told * 10, (told * 10).round())


def gradients(net: QuantumLayer, x: Tensor) -> tuple[Tensor, ...]:
    told = net(x)
    mixed = (told * torch.linspace(-1, 2, told.numel(), dtype=told.dtype).view_as(told)).sum()
    return torch.autograd.grad(mixed, [net.weight, x] if net.circuit.angles else [net.weight])


@pytest.mark.parametrize(
    ("embedding", "read", "noisy"),
    [
        *product(("angle", "reupload", "modulated", "none"), ("expectations", "probabilities"), (False,)),
        ("amplitude", "expectations", False),
        ("reupload", "expectations", True),
    ],
)
def test_parameter_shift_equals_autograd(embedding: Any, read: Any, noisy: bool) -> None:
    circuit = Circuit(qubits=3, layers=2, rotations="rot", embedding=embedding, gate="cnot")
    noise = {"noise": (Noise(kind="amplitude-damping", p=0.1),), "readout": (0.05, 0.1)} if noisy else {}
    through = QuantumLayer(circuit, Execution(**noise), read).double()  # type: ignore[arg-type]
    shifted = QuantumLayer(circuit, Execution(gradient="parameter-shift", **noise), read).double()  # type: ignore[arg-type]
    shifted.load_state_dict(through.state_dict())
    x = torch.randn(2, through.inputs, dtype=torch.float64).requires_grad_(embedding != "amplitude")
    for own, other in zip(gradients(shifted, x), gradients(through, x), strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-10)


def test_parameter_shift_with_shots_is_the_gradient_in_the_mean() -> None:
    exact = QuantumLayer(SMALL)
    shifted = QuantumLayer(SMALL, Execution(gradient="parameter-shift", shots=4096))
    straight = QuantumLayer(SMALL, Execution(shots=4096))
    for other in (shifted, straight):
        other.load_state_dict(exact.state_dict())
    x = torch.randn(1, 3).expand(64, 3)
    wanted, found, same = (torch.autograd.grad(net(x).mean(), net.weight)[0] for net in (exact, shifted, straight))
    assert 0 < (found - wanted).abs().max() < 0.01
    torch.testing.assert_close(same, wanted)  # the gradient is the exact one, only values are noisy


def test_readout_in_a_layer_shrinks() -> None:
    exact, misread = QuantumLayer(SMALL), QuantumLayer(SMALL, Execution(readout=(0.1, 0.2)))
    misread.load_state_dict(exact.state_dict())
    x = torch.randn(2, 3)
    torch.testing.assert_close(misread(x), 0.7 * exact(x) + 0.1)


@pytest.mark.parametrize(
    ("embedding", "x", "told"),
    [
        ("angle", torch.zeros(2, 4), r"takes 3 numbers per sample, \(B, 3\), got \(2, 4\)"),
        ("angle", torch.zeros(3), r"got \(3,\)"),
        ("angle", torch.tensor([[0, 1, torch.nan]]), "an input of nan is no angle"),
        ("angle", torch.tensor([[0, 1, -torch.inf]]), "an input of inf is no angle"),
        ("angle", torch.tensor([[0, 1, 3e7]]), r"an input of 3e\+07 is no angle in radians: scale inputs"),
        ("amplitude", torch.zeros(1, 8), "all zeros or not finite"),
        ("amplitude", torch.full((1, 8), torch.nan), "all zeros or not finite"),
    ],
)
def test_inputs_that_are_no_angles_are_refused(embedding: Any, x: Tensor, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        QuantumLayer(SMALL.model_copy(update={"embedding": embedding}))(x)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "read", "told"),
    [
        ({"shots": 10}, "state", "a state is read exactly or not at all"),
        ({"noise": (Noise(),)}, "state", "a state is read exactly or not at all"),
        ({"gradient": "parameter-shift"}, "sample", "read=sample has no such gradient"),
        ({"gradient": "parameter-shift"}, "state", "read=state has no such gradient"),
    ],
)
def test_what_cannot_be_read_is_refused_at_once(settings: dict[str, Any], read: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        QuantumLayer(SMALL, Execution(**settings), read)
    assert "\n" not in str(caught.value)


def test_amplitudes_have_no_shifts() -> None:
    shifted = QuantumLayer(SMALL.model_copy(update={"embedding": "amplitude"}), Execution(gradient="parameter-shift"))
    with pytest.raises(UsageError, match="amplitudes have no gradient by parameter-shift"):
        shifted(torch.rand(1, 8, requires_grad=True))


def test_density_matrices_that_do_not_fit_are_refused_when_built() -> None:
    with pytest.raises(UsageError, match=r"states of 2\^48 numbers want"):
        QuantumLayer(Circuit(qubits=24), Execution(noise=(Noise(),), method="density"))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"readout": (0.1, 1.2)}, "two probabilities between 0 and 1"),
        ({"shots": 0}, "greater than or equal to 1"),
        ({"noise": ({"p": 1.5},)}, "less than or equal to 1"),
        ({"options": {"seed": 1}}, "those of a PennyLane device"),
    ],
)
def test_impossible_executions_are_refused(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Execution(**wrong)
