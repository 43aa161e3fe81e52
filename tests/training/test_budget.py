"""Budgets: reading, splitting, progress."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrail.errors import UsageError
from vitrail.model.recipe import Training
from vitrail.training.budget import Budget, read, split

UNITS = ("steps", "epochs", "images", "s", "min", "h")


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("20000 steps", 20_000, "steps"),
        ("1 step", 1, "steps"),
        ("20k steps", 20_000, "steps"),
        ("10 epochs", 10, "epochs"),
        ("0.5 epoch", 0.5, "epochs"),
        ("2M images", 2_000_000, "images"),
        ("90s", 90, "seconds"),
        ("90 sec", 90, "seconds"),
        ("6min", 360, "seconds"),
        ("1.5h", 5400, "seconds"),
    ],
)
def test_every_way_to_write_a_budget(text: str, amount: float, unit: str) -> None:
    assert read(text) == Budget(amount, unit)


@pytest.mark.parametrize("text", ["0 steps", "1.2.3 steps", ". s", "steps", "-3 steps", "10 parsecs", "", "3min 2s"])
def test_what_is_no_budget_is_refused_with_examples(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no budget; write '20000 steps'"):
        read(text)


@given(st.floats(0.01, 1e6), st.sampled_from(UNITS))
def test_what_the_recipe_accepts_can_be_read(number: float, unit: str) -> None:
    text = f"{number:.4f} {unit}"
    assert read(Training(budget=text).budget).amount > 0


@given(st.integers(2, 10**7), st.floats(0.01, 0.99))
def test_steps_are_split_without_a_rest(steps: int, share: float) -> None:
    first, second = split(Budget(steps, "steps"), share)
    assert first.amount == int(first.amount) >= 1
    assert second.amount >= 1
    assert first.amount + second.amount in (steps, steps + 1)  # one more where a share would be less than a step
    assert abs(first.amount - steps * share) <= 1


@given(st.floats(1, 1e6), st.floats(0.01, 1.0))
def test_time_is_split_by_share(seconds: float, share: float) -> None:
    first, second = split(Budget(seconds, "seconds"), share)
    assert first.amount == seconds * share
    assert first.amount + second.amount == pytest.approx(seconds)


@given(st.sampled_from(["steps", "images", "seconds"]), st.floats(0.1, 1e6), st.integers(0, 10**6), st.integers(1, 512))
def test_progress_rises_from_0_to_1(unit: str, amount: float, step: int, batch: int) -> None:
    budget = Budget(amount, unit)
    now = budget.progress(step, step * batch, step * 0.1)
    later = budget.progress(step + 1, (step + 1) * batch, (step + 1) * 0.1)
    assert 0 <= now <= later <= 1
    assert budget.progress(0, 0, 0) == 0


def test_epochs_are_images_of_the_training_set() -> None:
    assert read("3 epochs").resolved(50) == Budget(150, "images")
    assert read("3 steps").resolved(50) == Budget(3, "steps")
