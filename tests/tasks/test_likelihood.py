"""Likelihoods against closed forms, and which model gives which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal

from vitrail import catalog
from vitrail.bottlenecks import gaussian
from vitrail.codecs.codec import Codec
from vitrail.data.config import DataConfig
from vitrail.data.dataset import Dataset, open_dataset
from vitrail.data.loader import in_order
from vitrail.metrics.protocol import Score
from vitrail.model.model import Model
from vitrail.objectives.reconstruction import gaussian as gaussian_likelihood
from vitrail.priors._prior import Prior
from vitrail.tasks._likelihood import Measure, Pictures, dequantised, likelihood_scores, log_weights, measure_of
from vitrail.types import Latent, LatentSpec

NATS = math.log(2)  # of a bit


def built(data: Dataset, name: str = "vqvae", **changes: Any) -> Model:
    return Model.build(catalog.find("recipes", name).recipe().vary(**changes), data.spec)


def pixelcnn(data: Dataset, size: int, **changes: Any) -> Model:
    return built(
        data,
        network="identity",
        bottleneck={"name": "scalar", "size": size},
        prior={"name": "pixelcnn", "width": 8, "depth": 2},
        **changes,
    )


def scored(model: Model, data: Dataset, count: int = 10, **how: Any) -> dict[str, Score]:
    done: list[int] = []
    scores = likelihood_scores(model, data, count, 0, done.append, **how)
    assert not scores or done[-1] == count
    return {score.metric: score for score in scores}


@pytest.fixture(scope="module")
def grey() -> Dataset:
    return open_dataset("digits", DataConfig(), "heldout")


@pytest.fixture(scope="module")
def binary() -> Dataset:
    return open_dataset("digits", DataConfig(binarise=True), "heldout")


def test_a_uniform_model_pays_a_bit_for_each_binary_value(binary: Dataset) -> None:
    scores = scored(pixelcnn(binary, 2, data__binarise=True), binary)  # fresh: every code is as likely
    assert scores["nats"].value == pytest.approx(math.prod(binary.spec.shape) * NATS, rel=1e-6)
    assert scores["bits_per_dimension"].value == pytest.approx(1, rel=1e-6)
    settings = {"binarised": True, "values": 2, "likelihood": "exact", "class": "given"}
    assert scores["nats"].settings == settings
    assert scores["nats"].seed is None
    assert scores["nats"].n_real == 10


def test_and_eight_for_each_8_bit_value(grey: Dataset) -> None:
    scores = scored(pixelcnn(grey, 256), grey)
    assert scores["bits_per_dimension"].value == pytest.approx(8, rel=1e-6)
    assert scores["bits_per_dimension"].interval is not None
    assert scores["nats"].settings["binarised"] is False


def test_scalar_codes_of_8_bit_pictures_are_the_pictures(grey: Dataset) -> None:
    model = pixelcnn(grey, 256)
    x = grey.images(range(20))
    codes = model.encode(x.float() / 255).codes
    assert torch.equal(codes, x.long())
    torch.testing.assert_close(model.decode(codes), x.float() / 255)


def test_codes_of_a_codec_that_loses_something_are_named_as_codes(grey: Dataset) -> None:
    model = built(grey, bottleneck__size=16, prior="pixelcnn", network__widths=(8, 16))
    scores, spec = scored(model, grey), model.codec.latent_spec()
    assert sorted(scores) == ["bits_per_token_prior", "nats_of_codes"]
    assert scores["bits_per_token_prior"].value == pytest.approx(4, rel=1e-6)
    assert scores["nats_of_codes"].value == pytest.approx(math.prod(spec.grid) * 4 * NATS, rel=1e-6)
    assert scores["nats_of_codes"].settings["tokens"] == math.prod(spec.grid)


def test_models_that_give_no_probability_get_no_score(grey: Dataset) -> None:
    assert scored(built(grey, "vae-dense"), grey) == {}  # Bernoulli on grey pictures
    assert measure_of(built(grey, "vae-dense"), 0) == "neither its decoder nor its prior gives a probability"
    assert (
        measure_of(built(grey, bottleneck__size=16, prior=None), 0) == "its decoder gives none, and there is no prior"
    )
    assert scored(built(grey, bottleneck__size=16, prior=None), grey) == {}
    small = open_dataset("digits", DataConfig(size=4), "heldout")
    assert scored(pixelcnn(grey, 2), small) == {}  # another size


class Fixed(Prior):
    """A density of normalised z that is known."""

    likelihood = "exact"
    classes = 0

    def __init__(self, model: Model, uniform: bool) -> None:
        super().__init__()
        self.spec: LatentSpec = model.codec.latent_spec()
        self.uniform, self.std = uniform, model.codec.std

    def nats(self, latent: Latent, label: Tensor, seed: int, numbers: Sequence[int]) -> Tensor:
        z = latent.z.double()
        if self.uniform:  # over [-1, 1] before it was normalised
            return -(self.std.double() / 2).log().sum() * z[0, 0].numel() * torch.ones(len(z), dtype=torch.float64)
        return -Normal(0.0, 1.0).log_prob(z).flatten(1).sum(1)


def density(data: Dataset, uniform: bool) -> Model:
    model = built(data, network="identity", bottleneck="identity", prior=None)
    model.codec.mean.fill_(-0.3)
    model.codec.std.fill_(0.7)
    model.prior = Fixed(model, uniform)
    return model


def test_a_uniform_density_pays_the_bits_of_its_width(grey: Dataset) -> None:
    """255 of the widths that a value is spread over fit between the lowest and the highest."""
    scores = scored(density(grey, uniform=True), grey)
    assert scores["bits_per_dimension"].value == pytest.approx(math.log2(255), rel=1e-6)
    assert scores["bits_per_dimension"].settings["dequantisation"] == "uniform, centred"
    assert (
        scores["bits_per_dimension"].settings["likelihood"] == "bound"
    )  # of 8-bit values, though the density is exact
    assert scores["bits_per_dimension"].seed == 0


def test_a_density_changes_by_the_slope_of_the_map_to_z(grey: Dataset) -> None:
    """N(0, 1) of z is a normal density of 8-bit values, whose mean and width follow by hand."""
    model, x = density(grey, uniform=False), grey.images(range(6)).float() / 255
    measure = measure_of(model, seed=3)
    assert isinstance(measure, Measure)
    found = measure.nats(Pictures(x, torch.full((6,), -1), range(6)))["nats"]
    place = 255 * dequantised(x.double(), 3, range(6))  # in [-0.5, 255.5]
    by_hand = -Normal(127.5 * (1 - 0.3), 127.5 * 0.7).log_prob(place).flatten(1).sum(1)
    torch.testing.assert_close(found, by_hand, rtol=1e-5, atol=0)


def test_dequantised_values_stay_beside_their_own_and_belong_to_seed_and_number() -> None:
    x = torch.arange(256).view(1, 1, 16, 16).expand(2, -1, -1, -1).float() / 255
    moved = dequantised(x.double(), 0, [4, 9])
    assert torch.equal((255 * moved).round(), (255 * x).round().double())
    assert not torch.equal(moved[0], moved[1])
    assert torch.equal(dequantised(x[:1].double(), 0, [9]), moved[1:])
    assert not torch.equal(dequantised(x[:1].double(), 1, [9]), moved[1:])
    assert (255 * (moved - x)).mean().item() == pytest.approx(0, abs=0.05)


SLOPE, START, SIGMA = torch.tensor([0.5, -0.3, 0.2, 0.1]), torch.tensor([0.4, 0.6, 0.5, 0.5]), 0.25


class Flat(nn.Module):
    """(B, 1, 2, 2) -> (B, 4)."""

    width = 4

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def linear(widened: float = 0.0, shifted: float = 0.0) -> Codec:
    """x = SLOPE z + START + SIGMA n, z standard normal; its posterior exact, or off in log-variance and mean."""
    squeeze = gaussian.Config(channels=1).build(4)
    assert isinstance(squeeze, gaussian.Gaussian)
    variance = 1 / (1 + SLOPE.square().sum() / SIGMA**2)
    reads = variance / SIGMA**2 * SLOPE  # mean = reads (x - START), and the encoder is given 2 x - 1
    squeeze.project.weight.data = torch.stack([reads / 2, torch.zeros(4)])
    squeeze.project.bias.data = torch.tensor([reads @ (0.5 - START) + shifted, variance.log() + widened])
    decoder = nn.Sequential(nn.Linear(1, 4), nn.Unflatten(1, (1, 2, 2)))
    decoder[0].weight.data, decoder[0].bias.data = 2 * SLOPE[:, None], 2 * START - 1  # its [-1, 1] is [0, 1] of x
    likelihood = gaussian_likelihood.Config(variance="shared").build(1)
    share = 1 + math.log(SIGMA) / math.log(255)
    likelihood.raw.data = torch.tensor(math.log(share / (1 - share)))
    return Codec(Flat(), squeeze, decoder, likelihood, 0, (1, 2, 2)).eval()


def exact(x: Tensor) -> Tensor:
    covariance = torch.outer(SLOPE, SLOPE).double() + SIGMA**2 * torch.eye(4, dtype=torch.float64)
    return MultivariateNormal(START.double(), covariance).log_prob(x.flatten(1).double())


@torch.no_grad()
def test_an_exact_posterior_makes_every_weight_the_probability() -> None:
    x = torch.rand(5, 1, 2, 2)
    weights = log_weights(linear(), x, 0, range(5), 7)
    assert weights.dtype == torch.float64
    torch.testing.assert_close(weights, exact(x)[:, None].expand(-1, 7), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_importance_weighted_bound_reaches_it_and_the_evidence_bound_does_not() -> None:
    """The latter lacks KL(q, true posterior), known for two normal distributions."""
    widened, shifted = 0.5, 0.2
    x, draws = torch.rand(4, 1, 2, 2), 20_000
    weights = log_weights(linear(widened, shifted), x, 0, range(4), draws)
    tight = weights.logsumexp(1) - math.log(draws)
    torch.testing.assert_close(tight, exact(x), atol=0.02, rtol=0)
    variance = 1 / (1 + float(SLOPE.square().sum()) / SIGMA**2)
    lacking = 0.5 * (math.exp(widened) + shifted**2 / variance - 1 - widened)
    torch.testing.assert_close(weights.mean(1), exact(x) - lacking, atol=0.05, rtol=0)
    few = weights.unflatten(1, (-1, 10)).logsumexp(2).mean(1) - math.log(10)
    assert (weights.mean(1) < few).all()
    assert (few < exact(x)).all()


@pytest.mark.parametrize("name", ["vae-dense", "vae"])
def test_a_vae_gives_two_bounds(name: str, binary: Dataset) -> None:
    model = built(binary, name, data__binarise=True, reconstruction="bernoulli", bottleneck__channels=3)
    scores = scored(model, binary, 6, draws=16)
    assert sorted(scores) == ["bits_per_dimension", "nats", "nats_elbo"]
    assert scores["nats"].value < scores["nats_elbo"].value
    assert scores["bits_per_dimension"].value == pytest.approx(scores["nats"].value / 64 / NATS)
    assert scores["nats"].settings["k"] == 16
    assert scores["nats_elbo"].settings == {**scores["nats"].settings, "likelihood": "bound", "k": 1}
    assert scored(model, binary, 1, draws=16)["nats"].interval is None


def test_a_vae_s_evidence_bound_is_its_training_loss(binary: Dataset) -> None:
    """Averaged over the posterior, the weights are minus reconstruction and KL."""
    model = built(binary, "vae-dense", data__binarise=True, bottleneck__channels=3)
    x = binary.images(range(4)).float() / 255
    with torch.no_grad():
        weights = log_weights(model.codec, x, 0, range(4), 4000)
        model.codec.bottleneck.train()
        readings = [model.codec(x).terms for _ in range(400)]
    losses = torch.stack([reading["reconstruction"] + reading["kl"] for reading in readings]).mean(0) * 64
    torch.testing.assert_close(-weights.mean(1).float(), losses, atol=0.1, rtol=0)


def test_discretized_logistic_gives_bits_of_8_bit_values(grey: Dataset) -> None:
    model = built(grey, "vae", reconstruction="discretized-logistic", bottleneck__channels=3)
    scores = scored(model, grey, 4, draws=4)
    assert scores["bits_per_dimension"].settings["values"] == 256
    assert 0 < scores["bits_per_dimension"].value < 20


def test_a_fresh_flow_takes_pixels_for_normal_noise(grey: Dataset) -> None:
    """Its net says that nothing moves, so that z is as likely as the noise it would have begun as."""
    model = built(grey, "flow", denoiser={"name": "unet", "width": 16, "blocks": 1}, prior__likelihood_steps=40)
    scores = scored(model, grey, 4)
    x = dequantised(torch.stack([each.x for each in in_order(grey, 4)][:1])[0], 0, range(4))
    z = 2 * x.double() - 1  # fresh: mean 0, std 1
    cost = 0.5 * z.square() + 0.5 * math.log(2 * math.pi) - math.log(2 / 255)
    assert scores["nats"].value == pytest.approx(float(cost.flatten(1).sum(1).mean()), rel=1e-3)
    told = scores["nats"].settings
    assert (told["likelihood"], told["likelihood_steps"], told["likelihood_probes"]) == ("bound", 40, 4)
    measure = measure_of(model, 0)
    assert isinstance(measure, Measure)
    assert measure.passes == 2 * 40 * (1 + 4)
