"""What a recipe says of discriminator and generator is judged before anything is built or written."""

from __future__ import annotations

from typing import Any

import pytest

from vitrail import catalog
from vitrail.errors import UsageError
from vitrail.model.build import build_game, check
from vitrail.model.recipe import Recipe, override
from vitrail.training.objectives import rivalry
from vitrail.types import DataSpec

SPEC = DataSpec(shape=(1, 8, 8))


def recipe(name: str, **changes: Any) -> Recipe:
    made: Recipe = catalog.find("recipes", name).recipe()
    return override(made, {key.replace("__", "."): value for key, value in changes.items()})


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("vqvae", {"adversarial": "hinge"}, "a game wants both sides: add --set discriminator=NAME"),
        ("vqvae", {"discriminator": "patch"}, "a game wants both sides: add --set adversarial=NAME"),
        (
            "vqgan",
            {"adversarial__matching": False},
            "weights.matching weighs a term that is off: add --set adversarial.match",
        ),
        ("vqgan", {"weights__r1": 1.0}, "weights.r1 weighs a term that is off: add --set adversarial.r1=true"),
        (
            "vqvae",
            {"weights__adversarial": 1.0},
            "weights.adversarial weighs a term that is off: add --set adversarial=NAME",
        ),
        (
            "autoencoder",
            {"weights__perceptual": 1.0},
            "weights.perceptual weighs a term that is off: add --set perceptual=NAME",
        ),
        ("vqgan", {"adversarial__dreams": True}, "adversarial.dreams decodes noise: .* bottleneck=gaussian"),
        ("gan", {"adversarial": None, "discriminator": None}, "a generator learns from nothing but a discriminator"),
        ("gan", {"bottleneck": "vq"}, "network=generator has no encoder, so it wants bottleneck=noise"),
        ("vqvae", {"bottleneck": "noise"}, "bottleneck=noise lets nothing of an encoder through"),
        ("gan", {"prior": "mixture"}, "it wants prior=normal"),
        (
            "gan",
            {"adversarial__matching": True, "degradation": "noise"},
            "takes no degradation and no adversarial.matching",
        ),
        (
            "gan",
            {"reconstruction": {"name": "gaussian", "variance": "shared"}},
            "a likelihood with weights learns nothing",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(name: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check(recipe(name, **changes), SPEC)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("vqgan", {"adversarial": "nonsaturating"}),
        ("vqgan", {"adversarial": "wasserstein"}),
        ("vqgan", {"adversarial": None, "discriminator": None}),
        ("gan", {"adversarial": "wasserstein"}),
        ("vae-gan", {"adversarial": "hinge"}),
        ("vqvae", {"adversarial": "hinge", "discriminator": "patch"}),
        ("vqvae", {"adversarial": "hinge", "discriminator": "patch", "perceptual": "gradient"}),
        ("vae-dense", {"adversarial": "hinge", "discriminator": "residual"}),
    ],
)
def test_a_game_takes_its_weights_along_when_another_comes(name: str, changes: dict[str, Any]) -> None:
    made = recipe(name, **changes)
    check(made, SPEC)
    _, rival, left = rivalry(made, SPEC)
    assert (rival is None) == (made.adversarial is None)
    assert not {"r1", "lecam", "gradient_penalty"} & left.keys()


def test_a_penalty_that_is_not_named_counts_what_is_usual() -> None:
    _, rival, _ = rivalry(recipe("vqgan", adversarial__lecam=True, adversarial__r1=True, weights__r1=3.0), SPEC)
    assert rival is not None
    assert rival.weights == {"lecam": 0.01, "r1": 3.0}


def test_a_discriminator_depends_on_the_seed_only() -> None:
    first, again, other = (build_game(recipe("vqgan", training__seed=seed), SPEC) for seed in (0, 0, 1))
    assert first is not None and again is not None and other is not None  # noqa: PT018
    states = [[*made[0].state_dict().values()] for made in (first, again, other)]
    assert all(a.equal(b) for a, b in zip(states[0], states[1], strict=True))
    assert not all(a.equal(b) for a, b in zip(states[0], states[2], strict=True))
