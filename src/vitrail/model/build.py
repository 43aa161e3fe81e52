"""From a recipe and the data's shape to modules with fresh weights."""

from __future__ import annotations

from typing import Any

import torch

from vitrail import catalog
from vitrail.codecs.codec import Codec
from vitrail.errors import UsageError
from vitrail.model.recipe import SLOTS, Recipe, denoises, reads
from vitrail.networks.denoiser import mlp, unet
from vitrail.networks.discriminator._discriminator import Discriminator
from vitrail.objectives.adversarial._adversarial import PENALTIES, Adversarial
from vitrail.objectives.perceptual._perceptual import Perceptual
from vitrail.objectives.reconstruction._likelihood import to_data
from vitrail.objectives.regularisers._regulariser import Regulariser
from vitrail.priors._prior import Prior
from vitrail.types import Config, DataSpec

READING = ("regulariser", "perceptual", "degradation")  # slots that have to do with what an encoder reads


def build_codec(recipe: Recipe, spec: DataSpec) -> Codec:
    """The codec of a recipe for data of this shape; weights depend on the recipe's seed only."""
    network: Any = fitted(recipe, spec).network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        encoder = network.encoder(spec)
        if encoder is None and recipe.bottleneck.part() != "noise":
            raise UsageError(
                f"network={network.part()} has no encoder, so it wants bottleneck=noise, not {recipe.bottleneck.part()}"
            )
        squeeze = built(recipe.bottleneck, 0 if encoder is None else encoder.width)
        likelihood = built(recipe.reconstruction, spec.channels)
        decoder = network.decoder(spec, squeeze.channels, likelihood.outputs)
    return Codec(encoder, squeeze, decoder, likelihood, network.stride, spec.shape)


def build_prior(recipe: Recipe, spec: DataSpec, codec: Codec) -> Prior | None:
    """The prior of a recipe over the latents of this codec; None where it has none. Raises UsageError where they do not fit."""
    _check_condition(recipe)
    if recipe.denoiser is not None and not denoises(recipe.prior):
        named = "a recipe without a prior" if recipe.prior is None else f"prior={recipe.prior.part()}"
        raise UsageError(f"{named} learns with no denoiser; use denoiser=null, or prior=flow or diffusion")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed + 1)
        conditional = recipe.condition is not None
        denoiser = [recipe.denoiser] if denoises(recipe.prior) else []
        captions = [recipe.data.captions] if recipe.data.captions else []
        classes = len(spec.classes) if getattr(recipe.prior, "label_dropout", 0) < 1 else 0  # never told, never learnt
        prior: Prior | None = built(recipe.prior, codec.latent_spec(), classes, conditional, *denoiser, *captions)
    return prior


def _check_condition(recipe: Recipe) -> None:
    """Raise UsageError for hints or captions that no prior is there to be given."""
    if recipe.condition is not None and recipe.prior is None:
        raise UsageError("a condition is a hint for the prior, but this recipe has none; use condition=null")
    if not recipe.data.captions:
        return
    if recipe.condition is not None:
        raise UsageError(
            "a prior is given captions or degraded pictures, not both; use condition=null, or data.captions=0"
        )
    if not reads(recipe.prior):
        named = "a recipe without a prior" if recipe.prior is None else f"the {recipe.prior.part()} prior"
        raise UsageError(f"{named} reads no captions; use prior=flow or diffusion, or data.captions=0")


def build_regulariser(recipe: Recipe, codec: Codec) -> Regulariser | None:
    """What a recipe asks of this codec's latents beside reconstruction. Raises UsageError where they do not suit it."""
    regulariser: Regulariser | None = built(recipe.regulariser, codec.latent_spec())
    return regulariser


def build_perceptual(recipe: Recipe, spec: DataSpec) -> Perceptual | None:
    """How a recipe judges looks. Raises UsageError or ModelError where the weights it is given do not suit."""
    perceptual: Perceptual | None = built(recipe.perceptual, spec)
    return perceptual


def build_game(recipe: Recipe, spec: DataSpec) -> tuple[Discriminator, Adversarial] | None:
    """The discriminator of a recipe and the game it plays; None where it has none. Weights depend on the recipe's seed only."""
    if recipe.adversarial is None and recipe.discriminator is None:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed + 2)
        return built(recipe.discriminator, spec), built(recipe.adversarial)


def fitted(recipe: Recipe, spec: DataSpec) -> Recipe:
    """The recipe with everything filled in that it leaves to the size of the data."""
    network: Any = recipe.network
    network = network.fitted(spec)
    parts = {"network": network}
    if denoises(recipe.prior):
        parts["denoiser"] = recipe.denoiser or (unet.Config() if network.stride else mlp.Config())
    return recipe.model_copy(update=parts)


def check(recipe: Recipe, spec: DataSpec) -> None:
    """Raise UsageError now for parts that do not fit each other, without allocating anything."""
    with torch.device("meta"):
        codec = build_codec(recipe, spec)
        prior = build_prior(recipe, spec, codec)
        build_regulariser(recipe, codec)
        build_perceptual(recipe, spec)
        if not codec.learns:
            _check_weightless(recipe, codec)
        _check_game(recipe, codec, prior)
        build_game(recipe, spec)


def _check_weightless(recipe: Recipe, codec: Codec) -> None:
    """A codec that leaves values as they are. Raises UsageError for what would have to teach it."""
    asked = [slot for slot in (*READING, "adversarial", "discriminator") if getattr(recipe, slot) is not None]
    if asked:
        raise UsageError(f"network={recipe.network.part()} learns nothing, so it takes no {' and no '.join(asked)}")
    with torch.device("cpu"):
        probe = torch.linspace(-1, 1, 9).expand(1, codec.likelihood.outputs, 9)
        if not torch.equal(codec.likelihood.centre(probe), to_data(probe)):
            raise UsageError(
                f"network=identity puts out values as they are, which reconstruction={recipe.reconstruction.part()} takes "
                "for something else; use reconstruction=mse"
            )


def _check_game(recipe: Recipe, codec: Codec, prior: Prior | None) -> None:
    """Raise UsageError where what a recipe says of discriminator and generator does not go together."""
    wanted = [slot for slot in ("adversarial", "discriminator") if getattr(recipe, slot) is None]
    if len(wanted) == 1:
        names = catalog.nearest("", catalog.names(SLOTS[wanted[0]]))
        raise UsageError(f"a game wants both sides: add --set {wanted[0]}=NAME{names}")
    if codec.encoder is None:
        _check_generator(recipe, codec, prior)
    game: Any = recipe.adversarial
    if game is not None and game.dreams and codec.bottleneck.scale() is None:
        raise UsageError(
            "adversarial.dreams decodes noise: it wants latents that are pulled towards it, bottleneck=gaussian"
        )
    on = {name: game is not None and getattr(game, name) for name in ("matching", *PENALTIES)}
    on |= {"adversarial": game is not None, "perceptual": recipe.perceptual is not None}
    if off := [name for name in on if name in recipe.weights and not on[name]]:
        switch = f"adversarial.{off[0]}=true" if off[0] in PENALTIES or off[0] == "matching" else f"{off[0]}=NAME"
        raise UsageError(f"weights.{off[0]} weighs a term that is off: add --set {switch}, or leave the weight out")


def _check_generator(recipe: Recipe, codec: Codec, prior: Prior | None) -> None:
    """A recipe without an encoder. Raises UsageError."""
    game: Any = recipe.adversarial
    if game is None:
        settings = "--set adversarial=hinge --set discriminator=patch"
        raise UsageError(f"a generator learns from nothing but a discriminator: add {settings}")
    if prior is None or prior.trains or prior.fits:
        raise UsageError("a generator reads standard normal noise: it wants prior=normal")
    asked = [slot for slot in READING if getattr(recipe, slot) is not None]
    asked += [f"adversarial.{name}" for name in ("matching", "dreams") if getattr(game, name)]
    if asked:
        raise UsageError(f"a generator reconstructs nothing, so it takes no {' and no '.join(asked)}")
    if [*codec.likelihood.parameters()]:
        raise UsageError(
            "a generator explains no data, so a likelihood with weights learns nothing: reconstruction=bernoulli"
        )


def built(part: Config | None, *arguments: Any) -> Any:
    """What a part's Config builds; None stays None. What `build` takes is the convention of the part's folder."""
    return None if part is None else part.build(*arguments)  # type: ignore[attr-defined]
