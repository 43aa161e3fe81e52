"""What a recipe wants of its codec, as a step module: the codec's own terms, and where there is one, its opponent's."""

from __future__ import annotations

from collections.abc import Mapping

from vitrail.codecs.codec import Codec
from vitrail.model.build import build_game, build_perceptual, build_regulariser, built
from vitrail.model.recipe import Recipe
from vitrail.model.weight import Ramp
from vitrail.objectives.adversarial._adversarial import PENALTIES, Adversarial
from vitrail.training import distributed
from vitrail.training.adversary import Adversary
from vitrail.training.codec_step import CodecStep
from vitrail.training.generator_step import GeneratorStep
from vitrail.training.job import Rival
from vitrail.training.precision import place
from vitrail.types import DataSpec

Weights = Mapping[str, float | Ramp]


def rivalry(recipe: Recipe, spec: DataSpec) -> tuple[Adversary | None, Rival | None, Weights]:
    """The codec's opponent where the recipe has one, how it learns, and the weights that are left to the codec's own terms.

    A penalty that the recipe does not weigh counts what is usual.
    """
    game, weights = build_game(recipe, spec), {**recipe.weights}
    for name in prior_weights(recipe):
        del weights[name]
    if game is None:
        return None, None, weights
    adversary = Adversary(*game)
    usual = {name: weight for name, weight in PENALTIES.items() if getattr(recipe.adversarial, name)}
    theirs = usual | {name: weight for name, weight in weights.items() if name in Adversarial.OWN}
    left = {name: weight for name, weight in weights.items() if name not in theirs}
    return adversary, Rival("discriminator", adversary, recipe.training.discriminator, theirs), left


def prior_weights(recipe: Recipe) -> Weights:
    """Of the recipe's weights those of terms that its prior has beside its loss."""
    own = () if recipe.prior is None else recipe.prior.own_terms
    return {name: weight for name, weight in recipe.weights.items() if name in own}


def codec_step(
    recipe: Recipe, spec: DataSpec, codec: Codec, adversary: Adversary | None, weights: Weights
) -> CodecStep | GeneratorStep:
    """What is minimised of a codec. Raises UsageError or ModelError where a perceptual term has not the weights it wants."""
    if codec.encoder is None:
        assert adversary is not None
        return GeneratorStep(codec, adversary)
    look = build_perceptual(recipe, spec)
    if look is not None:
        place(look, distributed.current().device)
    return CodecStep(
        codec,
        built(recipe.degradation),
        recipe.training.seed,
        build_regulariser(recipe, codec),
        look,
        adversary,
        weights,
    )
