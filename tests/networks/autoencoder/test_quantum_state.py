"""The autoencoder of states: a circuit and its inverse, one set of weights, and the bound that it never passes."""

import copy

import pytest
import torch

from vitrail.bottlenecks.trash import Trash
from vitrail.codecs.codec import Codec
from vitrail.errors import DataError, UsageError
from vitrail.networks.autoencoder import quantum_state
from vitrail.networks.quantum.circuit import Circuit
from vitrail.objectives.reconstruction import mse
from vitrail.types import DataSpec

SHAPES = [(1, 8, 8), (2, 4, 4), (3, 5, 7), (1, 11)]


def build(shape: tuple[int, ...], kept: int, layer: str = "quantum", rotations: str = "ry") -> Codec:
    torch.manual_seed(0)
    spec, circuit = (
        DataSpec(shape=shape),
        Circuit.model_validate({"layers": 3, "embedding": "amplitude", "rotations": rotations}),
    )
    network = quantum_state.Config(circuit=circuit, layer=layer).fitted(spec)
    encoder = network.encoder(spec)
    bottleneck = Trash(kept or encoder.width)
    decoder = network.decoder(spec, bottleneck.channels, shape[0])
    return Codec(encoder, bottleneck, decoder, mse.Config().build(shape[0]), network.stride, shape)


@pytest.mark.parametrize("layer", ["quantum", "classical"])
@pytest.mark.parametrize("rotations", ["ry", "rot"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_decoder_undoes_the_encoder_and_both_keep_lengths(
    shape: tuple[int, ...], rotations: str, layer: str
) -> None:
    codec, x = build(shape, 0, layer, rotations), torch.rand(3, *shape)
    torch.testing.assert_close(codec(x).x_hat, x, atol=1e-5, rtol=0)
    torch.testing.assert_close(codec.encoder(2 * x - 1).norm(dim=1), (2 * x - 1).flatten(1).norm(dim=1))


@pytest.mark.parametrize("layer", ["quantum", "classical"])
def test_what_is_kept_hears_of_every_value(layer: str) -> None:
    codec, x = build((1, 16, 16), 8, layer), torch.rand(1, 1, 16, 16)
    torch.nn.init.uniform_(codec.encoder.turn.weight, 0.5, 1.0)
    heard = torch.autograd.functional.jacobian(codec.encoder, x)[0, :8].flatten(1)  # (8, 256)
    assert heard.abs().min() > 1e-9


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 4, 4)])
def test_the_squared_error_is_the_trash_times_the_squared_length(shape: tuple[int, ...]) -> None:
    codec, x = build(shape, 8), torch.rand(1, *shape)
    terms = codec(x).terms
    length = (2 * x - 1).square().mean()
    torch.testing.assert_close(
        terms["reconstruction"][0], 0.25 * length * terms["trash"]
    )  # a quarter: of [-1, 1] in [0, 1]


def test_the_decoder_has_no_weights_of_its_own() -> None:
    codec = build((1, 8, 8), 8)
    assert [name for name, _ in codec.named_parameters()] == ["encoder.turn.weight"]
    assert not [name for name in codec.state_dict() if name.startswith("decoder")]
    twin = copy.deepcopy(codec)
    torch.nn.init.normal_(twin.encoder.turn.weight)
    assert twin.decoder.last is twin.encoder.turn.weight
    x = torch.rand(2, 1, 8, 8)
    assert not torch.allclose(twin(x).x_hat, codec(x).x_hat)
    twin.load_state_dict(codec.state_dict())
    assert torch.equal(twin(x).x_hat, codec(x).x_hat)


def test_two_models_of_one_recipe_do_not_share() -> None:
    network, spec = quantum_state.Config(), DataSpec(shape=(1, 8, 8))
    (one, first), (two, second) = ((made.encoder(spec), made.decoder(spec, 8, 1)) for made in (network, network))
    assert first.last is one.turn.weight
    assert second.last is two.turn.weight
    assert first.last is not second.last


@pytest.mark.parametrize("rotations", ["ry", "ry-rz"])
def test_fidelity_never_exceeds_the_sum_of_the_largest_eigenvalues(rotations: str) -> None:
    codec = build((1, 4, 4), 4 if rotations == "ry" else 8, rotations=rotations)
    x = torch.randn(50, 1, 4, 4) @ torch.randn(4, 4)
    state = x.flatten(1).double()
    state = state / state.norm(dim=1, keepdim=True)
    bound = torch.linalg.eigvalsh(state.mT @ state / 50)[-4:].sum()
    descent, start = torch.optim.Adam(codec.parameters(), 0.1), 0.0
    for _ in range(60):
        latent = codec.bottleneck(codec.encoder(x))
        assert latent.stats["fidelity"] <= bound + 1e-6
        start = start or float(latent.stats["fidelity"])
        descent.zero_grad()
        latent.terms["trash"].backward()
        descent.step()
    assert start + 0.1 < latent.stats["fidelity"]


def test_qubits_follow_from_the_data() -> None:
    network = quantum_state.Config()
    qubits = [
        network.fitted(DataSpec(shape=shape)).circuit.qubits for shape in (*SHAPES, (1, 16, 16), (1, 28, 28), (1,))
    ]
    assert qubits == [6, 4, 7, 4, 8, 10, 1]
    with pytest.raises(UsageError, match=r"6 qubits hold 64 amplitudes, data of shape \(1, 16, 16\) has 256"):
        network.encoder(DataSpec(shape=(1, 16, 16)))
    with pytest.raises(UsageError, match=r"wants 30 qubits, 28 are the most"):
        network.fitted(DataSpec(shape=(3, 16384, 16384)))


def test_what_it_cannot_do_is_refused() -> None:
    spec = DataSpec(shape=(1, 8, 8))
    with pytest.raises(UsageError, match="puts out 1 channels, but 2 are wanted; use reconstruction=mse"):
        quantum_state.Config().decoder(spec, 8, 2)
    with pytest.raises(DataError, match=r"samples of shape \(1, 8, 8\) only, got \(1, 8, 9\)"):
        quantum_state.Config().encoder(spec)(torch.rand(2, 1, 8, 9))
    with pytest.raises(ValueError, match="set embedding to amplitude"):
        quantum_state.Config(circuit=Circuit(embedding="angle"))


def test_it_can_be_built_without_memory() -> None:
    with torch.device("meta"):
        assert build((1, 8, 8), 8).last.is_meta
        assert build((1, 8, 8), 8, "classical").last.is_meta
