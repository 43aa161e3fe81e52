"""Circuits as encoders and decoders: what they measure, and the twins that they are compared with."""

from typing import Any

import pytest
import torch

from vitrail.errors import DataError, UsageError
from vitrail.networks.autoencoder import quantum, quantum_generator, quantum_state
from vitrail.networks.autoencoder._circuits import singles_and_pairs
from vitrail.networks.autoencoder._unitary import Unitary
from vitrail.networks.quantum.circuit import Circuit
from vitrail.networks.quantum.layer import QuantumLayer
from vitrail.types import DataSpec

DIGITS = DataSpec(shape=(1, 8, 8))
SMALL = Circuit(qubits=3, layers=2, embedding="modulated")


def count(module: torch.nn.Module | None) -> int:
    return sum(weight.numel() for weight in module.parameters()) if module is not None else 0


def angles(module: torch.nn.Module | None) -> int:
    """Weights in circuits."""
    parts = module.modules() if module is not None else ()
    return sum(part.weight.numel() for part in parts if isinstance(part, QuantumLayer | Unitary))


def test_probabilities_are_told_as_logarithms() -> None:
    h = quantum.Config(circuit=SMALL, patch=4, reads="probabilities").encoder(DIGITS)(torch.randn(3, 1, 8, 8))
    assert h.shape == (3, 8, 2, 2)
    torch.testing.assert_close(h.exp().sum(1), torch.ones(3, 2, 2))


def test_pairs_are_products_of_what_is_measured() -> None:
    assert singles_and_pairs(3) == ("ZII", "IZI", "IIZ", "ZZI", "ZIZ", "IZZ")
    network = quantum.Config(circuit=SMALL.unentangled(), reads="pairs")
    h = network.encoder(DIGITS)(torch.randn(3, 1, 8, 8))
    torch.testing.assert_close(h[:, 3], h[:, 0] * h[:, 1])  # without an entangler bits are independent
    h = network.model_copy(update={"circuit": SMALL}).encoder(DIGITS)(torch.randn(3, 1, 8, 8))
    assert not torch.allclose(h[:, 3], h[:, 0] * h[:, 1], atol=1e-3)


def test_every_patch_is_encoded_by_itself() -> None:
    torch.manual_seed(0)
    encoder = quantum.Config(circuit=SMALL, patch=4).encoder(DIGITS)
    x = torch.randn(2, 1, 8, 8)
    other = x.clone()
    other[..., 4:, 4:] = 0
    h, changed = encoder(x), encoder(other)
    assert torch.equal(h[..., 0, :], changed[..., 0, :])
    assert not torch.allclose(h[..., 1, 1], changed[..., 1, 1])
    torch.testing.assert_close(encoder(x[..., 4:, :4])[..., 0, 0], h[..., 1, 0])


def test_few_pixels_are_amplitudes_themselves() -> None:
    circuit = Circuit(qubits=7, layers=0, embedding="amplitude")
    encoder = quantum.Config(circuit=circuit, reads="probabilities").encoder(DIGITS)
    assert count(encoder) == 0
    x = torch.randn(3, 1, 8, 8)
    wanted = x.flatten(1).square() / x.flatten(1).square().sum(1, keepdim=True)
    torch.testing.assert_close(encoder(x).exp()[:, :64], wanted, atol=1e-6, rtol=1e-4)
    small = circuit.model_copy(update={"qubits": 5, "layers": 1})
    assert count(quantum.Config(circuit=small).encoder(DIGITS)) > 64 * 32  # a linear map where they are too many


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 12), (1, 4, 4, 4)])
def test_the_lowest_frequencies_keep_distances(shape: tuple[int, ...]) -> None:
    spec = DataSpec(shape=shape)
    decoder = quantum.Config(patch=4, decoding="patches").decoder(spec, 4, shape[0])
    space = tuple(side // 4 for side in shape[1:])
    z, other = torch.randn(2, 3, 4, *space)
    torch.testing.assert_close((decoder(z) - decoder(other)).norm(), (z - other).norm())
    z = torch.zeros(1, 4, *space)
    z[:, 0] = 1
    assert (decoder(z)[:, 0].flatten().std() if shape[0] == 1 else 0) < 1e-6  # the lowest one is even


def test_a_patch_has_no_more_frequencies_than_values() -> None:
    with pytest.raises(UsageError, match=r"makes 16 values out of a latent's numbers, but there are 17"):
        quantum.Config(patch=4, decoding="patches").decoder(DIGITS, 17, 1)


def test_a_game_cannot_be_balanced_by_weights_that_do_not_exist() -> None:
    with pytest.raises(UsageError, match=r"set adversarial\.balance=gradients"):
        _ = quantum.Config(patch=4, decoding="patches").decoder(DIGITS, 4, 1).last


def test_a_decoder_may_have_a_circuit_of_its_own() -> None:
    own = Circuit(qubits=2, layers=1, embedding="angle")
    decoder = quantum.Config(circuit=SMALL, decoder_circuit=own, decoder_reads="probabilities").decoder(DIGITS, 5, 1)
    assert decoder.head.in_features == 4
    assert decoder(torch.randn(3, 5)).shape == (3, 1, 8, 8)


@pytest.mark.parametrize("sides", [{"encoding": "classical"}, {"decoding": "classical"}])
def test_one_side_may_be_classical(sides: dict[str, Any]) -> None:
    network = quantum.Config(circuit=SMALL, hidden=10, **sides)
    encoder, decoder = network.encoder(DIGITS), network.decoder(DIGITS, 5, 1)
    classical = encoder if "encoding" in sides else decoder
    assert angles(classical) == 0
    assert angles(decoder if classical is encoder else encoder) == SMALL.weights
    assert decoder(torch.randn(2, 5)).shape == (2, 1, 8, 8)
    assert encoder(torch.randn(2, 1, 8, 8)).shape == (2, encoder.width)


def test_whole_samples_are_of_one_shape() -> None:
    with pytest.raises(DataError, match=r"samples of shape \(1, 8, 8\) only, got \(1, 9, 8\)"):
        quantum.Config(circuit=SMALL).encoder(DIGITS)(torch.rand(2, 1, 9, 8))


def test_a_table_has_no_patches() -> None:
    with pytest.raises(UsageError, match=r"set network.patch=null"):
        quantum.Config(patch=2).encoder(DataSpec(shape=(7,)))


@pytest.mark.parametrize(
    "network",
    [
        quantum.Config(circuit=SMALL, patch=4, reads="probabilities"),
        quantum.Config(circuit=Circuit(qubits=6, embedding="angle"), decoder_reads="probabilities"),
        quantum_state.Config(),
        quantum_generator.Config(),
    ],
)
def test_the_classical_twin_has_as_many_weights(network: Any) -> None:
    twin = network.classical_twin()
    x, grid = torch.rand(2, 1, 8, 8), (2, 2) if network.stride else ()
    encoders = network.encoder(DIGITS), twin.encoder(DIGITS)
    decoders = network.decoder(DIGITS, 8, 1), twin.decoder(DIGITS, 8, 1)
    for one, other in (encoders, decoders):
        assert count(other) == pytest.approx(count(one), rel=0.05)
        assert angles(other) == 0
        assert count(one) == 0 or angles(one) > 0
    if encoders[0] is not None:
        assert encoders[0](x).shape == encoders[1](x).shape
    assert decoders[0](torch.randn(2, 8, *grid)).shape == decoders[1](torch.randn(2, 8, *grid)).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    "network", [quantum.Config(decoder_circuit=SMALL), quantum_state.Config(), quantum_generator.Config()]
)
def test_without_an_entangler_only_that_is_missing(network: Any) -> None:
    alone = network.unentangled()
    assert alone.circuit.entangler == "none"
    assert alone.model_copy(update={"circuit": network.circuit, **_own(network)}) == network
    assert count(alone.decoder(DIGITS, 8, 1)) == count(network.decoder(DIGITS, 8, 1))


def _own(network: Any) -> dict[str, Any]:
    return {"decoder_circuit": network.decoder_circuit} if isinstance(network, quantum.Config) else {}
