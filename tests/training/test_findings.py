"""The doctor's rules on conditions made up, each with the advice it must give, and silence where all is well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vitrail import catalog
from vitrail.model.recipe import Recipe, override, read_settings
from vitrail.training.findings import RULES, WARM, Condition, judged

WELL = {"usage": 0.98, "perplexity": 400.0, "window": 1e6}


def recipe(name: str = "vqvae", **changes: Any) -> Recipe:
    made: Recipe = catalog.find("recipes", name).recipe()
    return override(made, {key.replace("__", "."): value for key, value in changes.items()})


def condition(made: Recipe | None = None, **changes: Any) -> Condition:
    """A codebook of 512 that is doing well, but for the changes."""
    made = made or recipe()
    fixed = {name: weight for name, weight in made.weights.items() if isinstance(weight, float)}
    usual: dict[str, Any] = {
        "recipe": made,
        "step": 500,
        "progress": 0.5,
        "size": 512,
        "vectors": 100_000,
        "stats": WELL,
        "terms": {"reconstruction": 0.01, "commitment": 0.02},
        "weights": fixed,
        "early": {"commitment": 0.01},
    }
    return Condition(**{**usual, **changes})


def few(**changes: Any) -> Condition:
    return condition(**{"stats": {**WELL, "usage": 0.1, "perplexity": 20.0}, **changes})


def test_a_healthy_run_is_told_nothing() -> None:
    assert judged(condition()) == []
    assert judged(condition(position_bits=(3.0, 4.0, 0.0, 5.0), outermost=0.4, progress=1.0)) == []


def test_nothing_is_told_before_the_warm_up_nor_of_a_window_that_is_too_short() -> None:
    assert judged(few(progress=WARM - 0.01)) == []
    assert judged(few(stats={"usage": 0.1, "perplexity": 20.0, "window": 5000.0})) == []
    assert len(judged(few(stats={"usage": 0.1, "perplexity": 20.0, "window": 5120.0}))) == 1


def test_a_finding_is_told_once() -> None:
    assert judged(few(), told={"few-codes"}) == []


def test_few_codes_names_the_numbers_the_cause_and_the_fix() -> None:
    (found,) = judged(few(made=recipe(bottleneck__revive=0)))
    assert str(found) == (
        "codebook: 51 of 512 codes in use (10.0%) after 500 steps; revival is off; try --set bottleneck.revive=0.05"
    )
    assert (found.name, found.step) == ("few-codes", 500)


@pytest.mark.parametrize(
    ("changes", "terms", "fixes"),
    [
        ({"bottleneck__codebook": "gradient"}, {}, ("bottleneck.codebook=ema", "bottleneck.codebook=simvq")),
        (
            {"bottleneck__codebook": "gradient", "bottleneck__revive": 0},
            {},
            ("bottleneck.revive=0.05", "bottleneck.codebook=ema", "bottleneck.codebook=simvq"),
        ),
        ({"bottleneck__channels": 64}, {}, ("bottleneck.channels=8",)),
        ({"weights__commitment": 0.0}, {}, ("weights.commitment=0.25",)),
        ({}, {}, ("bottleneck.channels=8", "training.codec.lr=0.001", "bottleneck.size=32")),
        (
            {"bottleneck": "lfq", "weights__entropy": 0.0, "weights__evenness": 0.0},
            {"entropy": -1.0, "evenness": 1.0},
            ("weights.entropy=0.001", "weights.evenness=0.01"),
        ),
    ],
)
def test_advice_follows_the_cause(changes: dict[str, Any], terms: dict[str, float], fixes: tuple[str, ...]) -> None:
    made = recipe(**changes)
    (found,) = judged(few(made=made, terms={"reconstruction": 0.01, "commitment": 0.02, **terms}))
    assert found.fixes == fixes
    for fix in found.fixes:
        assert override(made, read_settings([fix])) != made


def test_a_setting_that_invites_collapse_is_warned_of_earlier() -> None:
    half = {**WELL, "usage": 0.5}
    assert judged(condition(stats=half)) == []
    assert [each.name for each in judged(condition(recipe(bottleneck__revive=0), stats=half))] == ["few-codes"]


def test_what_may_still_wake_up_is_given_time() -> None:
    assert judged(few(progress=0.4)) == []
    assert [each.name for each in judged(few(made=recipe(bottleneck__revive=0), progress=0.4))] == ["few-codes"]
    assert judged(replace(vae(0.0), progress=0.4)) == []


def test_the_worst_level_counts() -> None:
    (found,) = judged(condition(stats={**WELL, "lowest_usage": 0.05}))
    assert found.said.startswith("codebook: the worst level has 26 of 512")


def test_codes_that_no_vector_is_there_for_are_not_missed() -> None:
    found = judged(condition(size=512, vectors=200, stats={**WELL, "usage": 0.3}))
    assert [each.name for each in found] == ["larger-than-the-data"]
    assert found[0].fixes == ("bottleneck.size=16",)


def test_revived_codes_do_not_hide_that_one_says_all() -> None:
    (found,) = judged(condition(stats={**WELL, "usage": 0.9, "perplexity": 1.3}))
    assert found.name == "little-said"


def test_outputs_that_run_away() -> None:
    grown = {"reconstruction": 0.01, "commitment": 0.2}
    (found,) = judged(condition(terms=grown))
    assert (found.name, found.fixes[:2]) == ("outputs-run-away", ("weights.commitment=1", "bottleneck.sphere=true"))
    (found,) = judged(condition(recipe(weights__commitment=0.0), terms=grown))
    assert (found.cause, found.fixes) == ("its weight is 0", ("weights.commitment=0.25",))


def vae(active: float, **changes: Any) -> Condition:
    terms = {"reconstruction": 1.0, "kl": 0.1}
    return condition(recipe("vae", **changes), size=0, stats={"active_channels": active}, terms=terms, early=terms)


def test_posterior_collapse() -> None:
    (found,) = judged(vae(0.0, weights__kl=1000.0))
    assert found.fixes == ("weights.kl=1", "bottleneck.free_bits=1")
    (found,) = judged(vae(0.05, weights__kl=0.5))
    assert found.fixes == ("weights.kl=0.05", "bottleneck.free_bits=1")
    assert judged(vae(0.4)) == []


def test_one_position_and_the_rim_of_a_lattice() -> None:
    found = judged(condition(position_bits=(8.0, 0.1, 0.1, 0.1)))
    assert [each.name for each in found] == ["one-position"]
    made = recipe(bottleneck="fsq", weights__evenness=0.0)
    (found_rim,) = judged(condition(made, outermost=0.97, terms={"evenness": 3.0}))
    assert found_rim.fixes == ("weights.evenness=0.03", "training.codec.lr=0.001")


def test_a_discriminator_that_was_answered_and_one_that_knows_all() -> None:
    made = recipe("vqgan", adversarial__lecam=False, weights={"adversarial": 0.5, "commitment": 0.25, "matching": 1.0})
    stats = {**WELL, "adversarial_share": 0.98, "told_apart": 0.9}
    assert judged(condition(made, stats=stats)) == []
    (found,) = judged(condition(made, stats={**stats, "adversarial_share": 0.5}, terms={"adversarial": 0.1}))
    assert str(found) == (
        "discriminator: listened to at 50% of its weight at step 500, since reconstructions got worse; the decoder listens to it "
        "too much; try --set weights.adversarial=0.2 or --set adversarial.lecam=true or --set adversarial.r1=true"
    )
    ramp = condition(recipe("vqgan"), stats={**stats, "adversarial_share": 0.5}, terms={"adversarial": 0.1})
    assert judged(ramp)[0].fixes[0] == "weights.adversarial.peak=0.1"
    (found,) = judged(condition(made, stats={**stats, "told_apart": 1.0}))
    assert (found.name, found.fixes[0]) == ("all-known", "adversarial.lecam=true")
    assert judged(condition(recipe("wgan"), stats={**stats, "told_apart": 1.0})) == []


def test_every_rule_bears_an_empty_condition() -> None:
    empty = condition(size=0, vectors=0, stats={}, terms={}, weights={}, early={})
    assert [rule(empty) for rule in RULES] == [None] * len(RULES)


def test_a_weight_that_moves_counts_as_it_is_now() -> None:
    made = recipe("vae", weights__kl__peak=0.5)
    assert condition(made, terms={"kl": 1.0}, weights={"kl": 0.2}).weight("kl") == 0.2
    assert condition(made, terms={"reconstruction": 1.0}).weight("kl") is None
