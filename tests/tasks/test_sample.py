from __future__ import annotations

import pytest
import torch

from vitrail.errors import UsageError
from vitrail.model.model import Model
from vitrail.tasks.sample import sample


def test_a_sample_depends_on_seed_and_number_only(discrete: Model) -> None:
    whole = sample(discrete, 10, seed=3)
    part = sample(discrete, 4, seed=3, first=5)
    assert torch.equal(whole.pictures[5:9], part.pictures)
    assert whole.labels[5:9] == part.labels


def test_the_story_is_enough_to_draw_it_again(discrete: Model) -> None:
    drawn = sample(discrete, 5, label="7", seed=1, temperature=0.5)
    told = drawn.story(3)
    assert told["label"] == "7"
    assert told["settings"]["temperature"] == 0.5
    again = sample(discrete, 1, label=told["label"], seed=told["seed"], first=told["sample"], **told["settings"])
    assert torch.equal(again.pictures[0], drawn.pictures[3])


def test_settings_of_another_prior_are_refused(vector: Model) -> None:
    with pytest.raises(UsageError, match="no setting 'top_k'"):
        sample(vector, 2, top_k=3)
