"""Generators of circuits: post-selection, parts and noise."""

import math

import pytest
import torch

from vitrail.networks.autoencoder import quantum_generator
from vitrail.networks.quantum.circuit import Circuit
from vitrail.types import DataSpec

CIRCUIT = Circuit(qubits=3, layers=2, embedding="angle", rotations="ry")


def build(shape: tuple[int, ...] = (1, 8, 8), ancillas: int = 1, noise: str = "angles") -> quantum_generator.Decoder:
    torch.manual_seed(0)
    config = quantum_generator.Config.model_validate({"circuit": CIRCUIT, "ancillas": ancillas, "noise": noise})
    return config.decoder(DataSpec(shape=shape), 3, shape[0])


@pytest.mark.parametrize("ancillas", [0, 1, 2])
def test_ancillas_are_measured_as_zero_and_the_largest_probability_is_white(ancillas: int) -> None:
    part, z = build(ancillas=ancillas).parts[0], torch.randn(5, 3)
    joint = part.circuit(part.enter(z)).view(5, 2**ancillas, -1)
    given = joint[:, 0] / joint[:, 0].sum(1, keepdim=True)
    torch.testing.assert_close(part(z), given / given.amax(1, keepdim=True))
    assert torch.equal(part(z).amax(1), torch.ones(5))


@pytest.mark.parametrize(("shape", "parts"), [((1, 8, 8), 16), ((3, 5), 4), ((2, 3, 3), 5)])
def test_so_many_parts_as_fill_a_sample(shape: tuple[int, ...], parts: int) -> None:
    net = build(shape)
    assert len(net.parts) == parts
    out = net(torch.randn(4, 3))
    assert out.shape == (4, *shape)
    assert out.min() >= -1
    assert out.max() <= 1
    assert not torch.allclose(out.flatten(1)[:, :4], out.flatten(1)[:, 4:8])  # each has weights of its own


@pytest.mark.parametrize(
    ("shape", "asked", "qubits", "parts"),
    [
        ((1, 8, 8), 4, 5, 4),
        ((1, 16, 16), 4, 7, 4),
        ((1, 28, 28), 4, 8, 7),
        ((1, 8, 8), 16, 3, 16),
        ((1, 8, 8), None, 4, 8),
        ((3,), 4, 2, 2),
    ],
)
def test_qubits_follow_from_the_parts(shape: tuple[int, ...], asked: int | None, qubits: int, parts: int) -> None:
    spec, own = DataSpec(shape=shape), Circuit(qubits=4, embedding="angle")
    config = quantum_generator.Config(circuit=own, parts=asked).fitted(spec)
    assert config.circuit.qubits == qubits
    assert config.fitted(spec) == config
    assert len(config.decoder(spec, 3, shape[0]).parts) == parts


def test_noise_turns_by_up_to_a_quarter_evenly() -> None:
    angles = quantum_generator.Quarters(3)(torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(angles[:, 2], angles[:, 0])
    quarters = torch.histc(angles[:, :2], 4, 0, math.pi / 2) / angles[:, :2].numel()
    torch.testing.assert_close(quarters, torch.full((4,), 0.25), atol=0.01, rtol=0)


def test_with_style_every_layer_hears_the_noise() -> None:
    circuit = Circuit(qubits=3, layers=2, embedding="modulated")
    net = quantum_generator.Config(circuit=circuit).decoder(DataSpec(shape=(1, 8)), 4, 1)
    assert net.parts[0].enter.out_features == 6
    z = torch.randn(3, 4, requires_grad=True)
    net(z).square().sum().backward()
    assert (net.parts[0].enter.weight.grad.abs().sum(1) > 0).all()


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="of 3 qubits 3 cannot be ancillas"):
        quantum_generator.Config(circuit=CIRCUIT, ancillas=3)
    with pytest.raises(ValueError, match="noise enters by rotations"):
        quantum_generator.Config(circuit=Circuit(qubits=3, embedding="none"))


def test_it_can_be_built_without_memory() -> None:
    with torch.device("meta"):
        assert build(noise="style").last.is_meta
