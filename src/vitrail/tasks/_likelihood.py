"""Likelihoods in nats and bits: of pictures where a model gives them a probability, of codes where it gives one to those.

Which number a model gives is decided by what stands between its prior and the pictures:

    nothing is lost on the way to codes          exact, or the prior's own bound
    codes of a codec that loses something        a rate of codes, which says nothing of pictures
    pixels as they are, under a density          a bound for 8-bit values, by uniform dequantisation
    a Gaussian posterior and a likelihood        importance-weighted bound
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitrail.bottlenecks.gaussian import Gaussian
from vitrail.bottlenecks.scalar import Scalar
from vitrail.codecs.codec import Codec
from vitrail.data.dataset import Dataset
from vitrail.data.loader import in_order
from vitrail.data.noise import DEQUANTISE, stream
from vitrail.metrics.protocol import Score, bootstrap
from vitrail.model.model import Model
from vitrail.networks.autoencoder.identity import Identity
from vitrail.objectives.reconstruction.bernoulli import Bernoulli
from vitrail.priors._continuous import Continuous
from vitrail.priors._prior import Prior
from vitrail.samplers import noise

BLOCK = 32  # pictures in memory at a time
DECODED = 256  # of the posterior's samples decoded at once
DRAWN = 1 << 24  # values of them in memory
DRAWS = 500  # samples of the posterior per picture

Nats = dict[str, Tensor]  # (B,) float64 by metric


@dataclass(frozen=True)
class Pictures:
    """A block of a data set."""

    x: Tensor  # (B, C, *S) in [0, 1]
    label: Tensor  # (B,), -1 for none
    numbers: Sequence[int]  # positions in the data set: what their noise belongs to


@dataclass(frozen=True)
class Measure:
    """How a model's pictures are judged."""

    nats: Callable[[Pictures], Nats]
    values: int  # of a picture that share them
    bits: str  # metric of bits per value, from the first of the nats
    settings: dict[str, Any]  # of the scores
    noisy: bool = False  # by noise that belongs to seed and picture
    passes: int = 0  # of a net, forward and back, where an equation is solved for each picture


@torch.no_grad()
def likelihood_scores(
    model: Model, data: Dataset, wanted: int, seed: int, report: Callable[[int], None], draws: int = DRAWS
) -> list[Score]:
    """What the first `wanted` pictures of a data set cost; nothing where the model gives no probability to pictures or codes.

    draws: samples of a Gaussian posterior per picture. Pictures get their own class where the prior knows it.
    """
    measure = measure_of(model, seed, draws)
    if isinstance(measure, str) or data.spec.shape != model.spec.shape:
        return []
    rows: list[Nats] = []
    done, labelled = 0, model.prior is not None and model.prior.classes and data.spec.classes == model.spec.classes
    for batch in in_order(data, min(BLOCK, wanted)):
        x, label = model.read(batch.x[: wanted - done]), batch.label[: wanted - done].to(model.device)
        given = label if labelled else torch.full_like(label, -1)
        rows.append(measure.nats(Pictures(x, given, batch.index[: len(x)].tolist())))
        done += len(x)
        report(done)
        if done == wanted:
            break
    found = {name: torch.cat([row[name] for row in rows]).cpu() for name in rows[0]}
    settings = {**measure.settings, "class": "given" if labelled else "none"}
    settings |= {"caption": "none"} if model.prior is not None and model.prior.captions else {}
    return _scored(model, replace(measure, settings=settings), found, seed)


def measure_of(model: Model, seed: int, draws: int = DRAWS) -> Measure | str:
    """How this model is judged; where it gives no likelihood, why not."""
    codec, prior, squeeze = model.codec, model.prior, model.codec.bottleneck
    values, own = math.prod(model.spec.shape), {"binarised": model.recipe.data.binarise}
    if isinstance(squeeze, Gaussian) and explains(model):
        counted = 2 if isinstance(codec.likelihood, Bernoulli) else 256
        settings = {**own, "values": counted, "likelihood": "importance-weighted bound", "k": draws}
        bounded = partial(_bounded, codec, seed, draws)
        return Measure(bounded, values, "bits_per_dimension", settings, noisy=True)
    if (lacking := _lacking(model)) is not None:
        return lacking
    assert prior is not None
    settings, noisy = {**own, "likelihood": prior.likelihood}, prior.likelihood == "bound"
    of_codes = partial(_of_codes, model, seed)
    if prior.discrete and isinstance(codec.encoder, Identity) and isinstance(squeeze, Scalar):
        settings |= {"values": squeeze.size}
        return Measure(partial(of_codes, "nats"), values, "bits_per_dimension", settings, noisy)
    if prior.discrete:
        tokens = prior.spec.levels * math.prod(prior.spec.grid)
        settings = {**settings, "of": "codes", "codes": prior.spec.size, "tokens": tokens}
        return Measure(partial(of_codes, "nats_of_codes"), tokens, "bits_per_token_prior", settings, noisy)
    if isinstance(codec.encoder, Identity) and squeeze.channels == model.spec.channels:
        settings |= {"values": 256, "likelihood": "bound", "dequantisation": "uniform, centred", **_solved(prior)}
        of_density = partial(_of_density, model, seed)
        return Measure(of_density, values, "bits_per_dimension", settings, noisy=True, passes=_passes(prior))
    return "its prior gives a density to latents, and those lose something of the pictures"


def _lacking(model: Model) -> str | None:
    """Why pictures and codes get no probability where there is no posterior of them; None where the prior gives one."""
    prior = model.prior
    if prior is None:
        return "its decoder gives none, and there is no prior"
    if prior.conditional:
        return "its prior knows them only beside their degraded forms"
    if prior.likelihood == "none":
        return "neither its decoder nor its prior gives a probability"
    return None


def _solved(prior: Prior) -> dict[str, int]:
    """How an equation is solved for a density, where one is."""
    if not isinstance(prior, Continuous):
        return {}
    config = prior.config
    return {"likelihood_steps": config.likelihood_steps, "likelihood_probes": config.likelihood_probes}


def _passes(prior: Prior) -> int:
    """Through the net and back, for the density of one picture: Heun's method asks twice a step, and each probe leads back once."""
    if not isinstance(prior, Continuous):
        return 0
    config = prior.config
    return 2 * config.likelihood_steps * (1 + min(config.likelihood_probes, math.prod(prior.spec.shape)))


def explains(model: Model) -> bool:
    """Whether its decoder gives the data's values probabilities: 8-bit ones, or black and white where the data is."""
    likelihood = model.codec.likelihood
    return likelihood.exact or (isinstance(likelihood, Bernoulli) and model.recipe.data.binarise)


def _scored(model: Model, measure: Measure, found: Nats, seed: int) -> list[Score]:
    """A score for each kind of nats, and bits per value of the first."""
    first = next(iter(found.values()))
    score = partial(
        Score,
        n_real=len(first),
        size=model.spec.space,
        channels=model.spec.channels,
        seed=seed if measure.noisy else None,
    )
    scores = []
    for name, rows in {**found, measure.bits: first / (measure.values * math.log(2))}.items():
        settings = {**measure.settings, "likelihood": "bound", "k": 1} if name == "nats_elbo" else measure.settings
        interval = bootstrap(rows) if len(rows) > 1 else None
        scores.append(score(metric=name, value=float(rows.mean()), interval=interval, settings=settings))
    return scores


def _of_codes(model: Model, seed: int, metric: str, given: Pictures) -> Nats:
    """What the prior says of the codes."""
    assert model.prior is not None
    latent = model.encode(given.x)
    return {metric: model.prior.nats(latent, given.label, seed, given.numbers)}


def _of_density(model: Model, seed: int, given: Pictures) -> Nats:
    """A bound on minus the log-probability of 8-bit values: the density is averaged over the surroundings of each value.

    The value v is spread evenly over [v - 1/2, v + 1/2] / 255, around where training saw it. From there to the
    normalised z of the prior it is a linear map, by whose slope the density changes.
    Theis et al. 2016, "A note on the evaluation of generative models", section 3.1.
    """
    assert model.prior is not None
    latent = model.codec.encode(dequantised(given.x, seed, given.numbers))
    slope = 2 / 255 / model.codec.std.double()  # (C,), of z by v
    places = latent.z[0, 0].numel()
    density = model.prior.nats(latent, given.label, seed, given.numbers)
    return {"nats": density - places * slope.log().sum()}


def dequantised(x: Tensor, seed: int, numbers: Sequence[int]) -> Tensor:
    """8-bit values x (B, C, *S) in [0, 1], each moved by chance within half the distance to the next."""
    shape = tuple(x.shape[1:])
    within = np.stack([stream(seed, DEQUANTISE, number).random(shape) for number in numbers])
    moved = ((255 * x.double()).round() + torch.from_numpy(within).to(x.device) - 0.5) / 255
    return moved.to(x.dtype)


def _bounded(codec: Codec, seed: int, draws: int, given: Pictures) -> Nats:
    """Importance-weighted and plain evidence bound."""
    latent = codec.latent_spec()
    together = max(1, DRAWN // (draws * math.prod(latent.shape)))  # pictures whose samples are kept at once
    parts = [
        log_weights(codec, given.x[first : first + together], seed, given.numbers[first : first + together], draws)
        for first in range(0, len(given.x), together)
    ]
    weights = torch.cat(parts)
    return {"nats": math.log(draws) - weights.logsumexp(1), "nats_elbo": -weights.mean(1)}


def log_weights(codec: Codec, x: Tensor, seed: int, numbers: Sequence[int], draws: int) -> Tensor:
    """(B, k) float64: ln p(x | z) p(z) / q(z | x) for k samples z of the posterior of each x (B, C, *S), in nats.

    The log of their mean bounds ln p(x) from below, the more tightly the more there are; their own mean is the evidence bound.
    p(z) is what the bottleneck pulls z towards.  Burda et al. 2016, "Importance weighted autoencoders", eq. 8.
    """
    squeeze = codec.bottleneck
    assert isinstance(squeeze, Gaussian)
    assert codec.encoder is not None
    mean, logvar = squeeze.posterior(codec.encoder(2 * codec.padded(x) - 1))
    away = noise.normal(seed, numbers, (draws, *mean.shape[1:])).to(x.device)  # (B, k, C, *S)
    parts = [_weighed(codec, x, mean, logvar, part) for part in away.split(max(1, DECODED // len(x)), dim=1)]
    return torch.cat(parts, dim=1)


def _weighed(codec: Codec, x: Tensor, mean: Tensor, logvar: Tensor, away: Tensor) -> Tensor:
    """(B, k): log weights of z = mean + std * away, away (B, k, C, *S)."""
    scale = codec.bottleneck.scale()
    assert scale is not None
    scale, count = scale.view(-1, *[1] * (mean.dim() - 2)), away.shape[1]
    z = mean.unsqueeze(1) + (0.5 * logvar).exp().unsqueeze(1) * away
    # The 2 pi of both normal densities cancels.
    ratio = 0.5 * away.double().square() - 0.5 * (z / scale).double().square()
    ratio = ratio + (0.5 * logvar - scale.log()).double().unsqueeze(1)
    cost = codec.cost(z.flatten(0, 1), x.repeat_interleave(count, 0)).double() * x[0].numel()
    return ratio.flatten(2).sum(2) - cost.unflatten(0, (-1, count))
