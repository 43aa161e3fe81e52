"""The codec: padding and cropping, normalised latents, terms per value."""

from typing import Any

import pytest
import torch

from vitrail import catalog
from vitrail.bottlenecks import gaussian, none, vq
from vitrail.codecs.codec import Codec
from vitrail.errors import DataError
from vitrail.networks.autoencoder import conv, mlp
from vitrail.objectives.reconstruction import mse
from vitrail.types import DataSpec


def codec(shape: tuple[int, ...], bottleneck: Any = None, network: Any = None, likelihood: Any = None) -> Codec:
    torch.manual_seed(0)
    network, spec = network or conv.Config(widths=(8, 8), blocks=1), DataSpec(shape=shape)
    encoder = network.encoder(spec)
    squeeze = (bottleneck or none.Config(channels=3)).build(encoder.width)
    judge = (likelihood or mse.Config()).build(spec.channels)
    decoder = network.decoder(spec, squeeze.channels, judge.outputs)
    return Codec(encoder, squeeze, decoder, judge, network.stride, shape).eval()


@pytest.mark.parametrize(
    "shape", [(1, 16), (2, 13), (1, 1), (3, 8, 8), (1, 30, 45), (3, 1, 9), (1, 4, 8, 4), (2, 5, 7, 6)]
)
def test_any_size_goes_in_and_comes_out(shape: tuple[int, ...]) -> None:
    made, x = codec(shape), torch.rand(2, *shape)
    reading = made(x)
    assert reading.x_hat.shape == x.shape
    assert 0 <= reading.x_hat.min() <= reading.x_hat.max() <= 1
    spec = made.latent_spec()
    assert spec.shape == tuple(reading.latent.z.shape[1:]) == (3, *(-(-side // 4) for side in shape[1:]))
    latent = made.encode(x)
    torch.testing.assert_close(made.decode(latent.z, tuple(shape[1:])), reading.x_hat)


def test_padding_repeats_the_far_edges() -> None:
    made, x = codec((1, 5, 6)), torch.rand(2, 1, 5, 6)
    padded = made.padded(x)
    assert padded.shape == (2, 1, 8, 8)
    assert torch.equal(padded[..., :5, :6], x)
    assert torch.equal(padded[..., 5:, :6], x[..., 4:, :].expand(-1, -1, 3, -1))
    assert torch.equal(padded[..., 6:], padded[..., 5:6].expand(-1, -1, -1, 2))
    even = torch.rand(2, 1, 4, 8)
    assert made.padded(even) is even


def test_what_is_padded_is_cut_off_exactly() -> None:
    """A codec that changes nothing gives back every value, at every size."""

    class Same(torch.nn.Module):
        channels = levels = size = factor = 1
        outputs = 1

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

        def mean(self, x: torch.Tensor) -> torch.Tensor:
            return 0.5 + 0.5 * x

    made = Codec(Same(), Same(), Same(), Same(), 4, (1, 7, 9))
    x = torch.rand(2, 1, 7, 9)
    torch.testing.assert_close(made.likelihood.mean(made._open(made.squeeze(x), (7, 9))), x)


@pytest.mark.parametrize("name", catalog.names("objectives/reconstruction"))
def test_terms_are_per_input_value(name: str) -> None:
    """Twice the picture in a larger frame costs the same per value, and the KL is divided like the likelihood."""
    likelihood = catalog.find("objectives/reconstruction", name).Config()
    made = codec((1, 8, 8), gaussian.Config(channels=2), likelihood=likelihood)
    x = torch.rand(3, 1, 8, 8)
    reading = made(x)
    assert reading.terms["reconstruction"].shape == reading.terms["kl"].shape == (3,)
    torch.testing.assert_close(reading.terms["kl"], reading.latent.terms["kl"] / 64)
    params = made._open(reading.latent.z, (8, 8))
    torch.testing.assert_close(reading.terms["reconstruction"], made.likelihood.terms(params, x)["reconstruction"] / 64)


def test_scalar_terms_are_left_as_they_are() -> None:
    made = codec((1, 8, 8), vq.Config(size=4, channels=2))
    reading = made(torch.rand(3, 1, 8, 8))
    assert torch.equal(reading.terms["commitment"], reading.latent.terms["commitment"])


def test_the_encoder_sees_the_degraded_input_and_the_judge_the_clean_one() -> None:
    made, x = codec((1, 8, 8)), torch.rand(3, 1, 8, 8)
    degraded = torch.zeros_like(x)
    reading = made(x, degraded)
    assert torch.equal(reading.latent.z, made(degraded).latent.z)
    torch.testing.assert_close(reading.terms["reconstruction"], (reading.x_hat - x).square().flatten(1).mean(1))


def test_normalised_latents_decode_to_the_same() -> None:
    made, x = codec((1, 8, 8)), torch.rand(64, 1, 8, 8)
    before = made(x)
    z = before.latent.z
    made.mean.copy_(z.mean((0, 2, 3)))
    made.std.copy_(z.std((0, 2, 3), unbiased=False))
    latent = made.encode(x)
    torch.testing.assert_close(latent.z.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(latent.z.std((0, 2, 3), unbiased=False), torch.ones(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(made.decode(latent.z, (8, 8)), before.x_hat)
    torch.testing.assert_close(made.normalised(z), latent.z)
    torch.testing.assert_close(made(x).x_hat, before.x_hat)  # forward knows no normalisation


def test_codes_decode_to_the_reconstruction_exactly() -> None:
    made, x = codec((1, 10, 7), vq.Config(size=16, channels=2)), torch.rand(3, 1, 10, 7)
    made.mean.fill_(0.3)
    latent = made.encode(x)
    assert torch.equal(made.decode_codes(latent.codes, (10, 7)), made(x).x_hat)
    assert made.latent_spec().size == 16
    assert made.latent_spec().levels == 1


def test_the_statistics_are_saved() -> None:
    assert {"mean", "std"} <= codec((1, 8, 8)).state_dict().keys()


@pytest.mark.parametrize("bottleneck", [none.Config(channels=3), gaussian.Config(channels=3), vq.Config(channels=3)])
@pytest.mark.parametrize("shape", [(7,), (1, 9), (3, 5, 4)])
def test_a_dense_codec_has_one_vector(shape: tuple[int, ...], bottleneck: Any) -> None:
    made, x = codec(shape, bottleneck, mlp.Config(widths=(8,))), torch.rand(2, *shape)
    latent = made.encode(x)
    assert latent.z.shape == (2, 3)
    assert made.latent_spec().shape == (3,)
    assert made.decode(latent.z).shape == x.shape
    assert made(x).x_hat.shape == x.shape


def test_a_dense_codec_refuses_other_sizes() -> None:
    with pytest.raises(DataError, match=r"reads samples of shape \(1, 8, 8\) only, got \(1, 8, 9\)"):
        codec((1, 8, 8), network=mlp.Config(widths=(8,)))(torch.rand(2, 1, 8, 9))
