"""From a recipe and the data's shape to modules with fresh weights."""

from __future__ import annotations

from typing import Any

import torch

from vitrail.codecs.codec import Codec
from vitrail.model.recipe import Recipe
from vitrail.objectives.regularisers._regulariser import Regulariser
from vitrail.priors._prior import Prior
from vitrail.types import Config, DataSpec


def build_codec(recipe: Recipe, spec: DataSpec) -> Codec:
    """The codec of a recipe for data of this shape; weights depend on the recipe's seed only."""
    network: Any = fitted(recipe, spec).network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        encoder = network.encoder(spec)
        squeeze = built(recipe.bottleneck, encoder.width)
        likelihood = built(recipe.reconstruction, spec.channels)
        decoder = network.decoder(spec, squeeze.channels, likelihood.outputs)
    return Codec(encoder, squeeze, decoder, likelihood, network.stride, spec.shape)


def build_prior(recipe: Recipe, spec: DataSpec, codec: Codec) -> Prior | None:
    """The prior of a recipe over the latents of this codec; None where it has none."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed + 1)
        prior: Prior | None = built(recipe.prior, codec.latent_spec(), len(spec.classes))
    return prior


def build_regulariser(recipe: Recipe, codec: Codec) -> Regulariser | None:
    """What a recipe asks of this codec's latents beside reconstruction. Raises UsageError where they do not suit it."""
    regulariser: Regulariser | None = built(recipe.regulariser, codec.latent_spec())
    return regulariser


def fitted(recipe: Recipe, spec: DataSpec) -> Recipe:
    """The recipe with everything filled in that it leaves to the size of the data."""
    network: Any = recipe.network
    return recipe.model_copy(update={"network": network.fitted(spec)})


def check(recipe: Recipe, spec: DataSpec) -> None:
    """Raise UsageError now for parts that do not fit each other, without allocating anything."""
    with torch.device("meta"):
        codec = build_codec(recipe, spec)
        build_prior(recipe, spec, codec)
        build_regulariser(recipe, codec)


def built(part: Config | None, *arguments: Any) -> Any:
    """What a part's Config builds; None stays None. What `build` takes is the convention of the part's folder."""
    return None if part is None else part.build(*arguments)  # type: ignore[attr-defined]
