"""Bit strings as codes: the exact expectation, the draw, and the terms in closed form."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail.bottlenecks import born
from vitrail.codecs.codec import Codec
from vitrail.networks.autoencoder import quantum
from vitrail.networks.quantum.circuit import Circuit
from vitrail.objectives.reconstruction import mse
from vitrail.types import DataSpec

K, C = 8, 3


def build(**settings: Any) -> born.Born:
    torch.manual_seed(0)
    made = born.Config(channels=C, **settings).build(K)
    assert isinstance(made, born.Born)
    return made


def odds(h: Tensor) -> Tensor:
    """(B, K, *S) -> (B, *S, K)"""
    return h.softmax(1).movedim(1, -1)


@pytest.mark.parametrize("channels", [16, 5])
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 8, 12)])
def test_squared_error_and_variance_are_the_mean_over_all_codes(shape: tuple[int, ...], channels: int) -> None:
    """E_k |x - e_k|^2 = |x - z|^2 + sum_k p_k |e_k - z|^2, in units of the data, for every sample."""
    torch.manual_seed(0)
    spec, judge = DataSpec(shape=shape), mse.Config().build(shape[0])
    network = quantum.Config(circuit=Circuit(qubits=3), patch=4, reads="probabilities", decoding="patches")
    encoder, squeeze = network.encoder(spec), born.Config(channels=channels).build(8)
    decoder = network.decoder(spec, channels, shape[0])
    codec = Codec(encoder, squeeze, decoder, judge, network.stride, shape).train()
    x = torch.rand(4, *shape)
    terms = codec(x).terms
    weight = born.Config.usual_weights["variance"]
    assert isinstance(weight, float)

    chance = odds(encoder(2 * x - 1))  # (B, *S, K)
    every = torch.zeros(4)
    patches = decoder.cut.cut(x)  # (B, *S, V)
    for code in range(8):
        picture = 0.5 + 0.5 * decoder(squeeze.values(torch.full((4, 1, *chance.shape[1:-1]), code)))
        error = (decoder.cut.cut(picture) - patches).square().sum(-1)
        every = every + (chance[..., code] * error).flatten(1).sum(1)
    values = x[0].numel()
    torch.testing.assert_close(terms["reconstruction"] + weight * terms["variance"], every / values)


def test_codes_far_from_zero_lose_no_precision() -> None:
    codes, chance = torch.randn(K, C), torch.randn(5, K).softmax(1)
    near, far = born.variance(chance, codes), born.variance(chance, codes + 1000)
    torch.testing.assert_close(near, far, rtol=2e-3, atol=1e-4)
    z = chance @ codes
    wanted = (chance[..., None] * (codes - z[:, None]).square()).sum((1, 2))
    torch.testing.assert_close(near[:, 0], wanted)


def test_what_is_drawn_in_training_is_drawn_as_often_as_it_is_likely() -> None:
    bottleneck, h = build(training="straight-through").train(), torch.randn(1, K)
    torch.manual_seed(1)
    codes = bottleneck(h.expand(40_000, K)).codes
    assert codes is not None
    found = torch.bincount(codes.flatten(), minlength=K) / 40_000
    torch.testing.assert_close(found, h[0].softmax(0), atol=0.01, rtol=0)


def test_a_draw_is_read_as_it_is_and_its_gradient_is_that_of_the_mean() -> None:
    bottleneck, slope = build(training="straight-through").train(), torch.randn(6, C, 2)
    h = torch.randn(6, K, 2, requires_grad=True)
    latent = bottleneck(h)
    assert latent.codes is not None
    torch.testing.assert_close(latent.z, bottleneck.values(latent.codes))
    (found,) = torch.autograd.grad((latent.z * slope).sum(), h)
    mean = (odds(h) @ bottleneck.codebook().detach()).movedim(-1, 1)
    (wanted,) = torch.autograd.grad((mean * slope).sum(), h)
    torch.testing.assert_close(found, wanted)
    assert "variance" not in latent.terms


def test_in_training_the_expectation_is_read_and_in_evaluation_the_likeliest_code() -> None:
    bottleneck, h = build(), torch.randn(6, K, 2)
    torch.testing.assert_close(bottleneck.train()(h).z, (odds(h) @ bottleneck.codebook()).movedim(-1, 1))
    latent = bottleneck.eval()(h)
    assert latent.codes is not None
    assert torch.equal(latent.codes[:, 0], h.argmax(1))
    assert torch.equal(latent.z, bottleneck.codebook()[h.argmax(1)].movedim(-1, 1))


def test_evenness_is_that_of_the_batch_and_doubt_that_of_a_point() -> None:
    bottleneck, sure = build().train(), 1000 * torch.eye(K)
    terms = bottleneck(sure).terms
    torch.testing.assert_close(terms["evenness"], torch.zeros(()), atol=1e-6, rtol=0)
    torch.testing.assert_close(terms["doubt"], torch.zeros(()), atol=1e-6, rtol=0)
    terms = bottleneck(sure[:1].expand(5, K)).terms
    torch.testing.assert_close(terms["evenness"], torch.tensor(math.log(K)))
    terms = bottleneck(torch.zeros(5, K)).terms
    torch.testing.assert_close(terms["evenness"], torch.zeros(()), atol=1e-6, rtol=0)
    torch.testing.assert_close(terms["doubt"], torch.tensor(math.log(K)))
