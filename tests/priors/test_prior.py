"""What all priors share."""

import pytest
import torch
from torch import Tensor

from vitrail.priors._prior import forgetful

MANY = 20_000


@pytest.mark.parametrize(("hint", "none"), [(torch.ones(MANY, 2, 3), 0.0), (torch.ones(MANY, 1, 2, 3).long(), -1)])
def test_hint_and_class_are_forgotten_together_and_the_class_alone(hint: Tensor, none: float) -> None:
    torch.manual_seed(0)
    label, kept = forgetful(torch.zeros(MANY, dtype=torch.int64), hint, 0.2, none)
    assert kept is not None
    without = (kept == none).flatten(1)
    assert torch.equal(without.any(1), without.all(1))
    assert kept[~without[:, 0]].eq(1).all()
    assert (label[without[:, 0]] == -1).all()
    assert without[:, 0].float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert (label == -1).float().mean().item() == pytest.approx(0.4, abs=0.02)


def test_without_hints_that_share_of_classes_is_forgotten_and_of_none_nothing_is_drawn() -> None:
    torch.manual_seed(0)
    label, kept = forgetful(torch.zeros(MANY, dtype=torch.int64), None, 0.2)
    assert kept is None
    assert (label == -1).float().mean().item() == pytest.approx(0.2, abs=0.02)
    before = torch.get_rng_state()
    assert not forgetful(torch.zeros(3, dtype=torch.int64), None, 0.0)[0].any()
    assert torch.equal(torch.get_rng_state(), before)


def test_either_of_class_and_hint_is_forgotten_too_where_each_must_suffice() -> None:
    torch.manual_seed(0)
    label, kept = forgetful(torch.zeros(MANY, dtype=torch.int64), torch.ones(MANY, 4).long(), 0.2, 256, either=True)
    assert kept is not None
    classless, mute = label == -1, (kept == 256).all(1)
    for what, share in ((classless & mute, 0.2), (classless & ~mute, 0.2), (mute & ~classless, 0.2)):
        assert what.float().mean().item() == pytest.approx(share, abs=0.02)
    assert forgetful(label, kept, 1.0, 256, either=True)[1].eq(256).all()  # type: ignore[union-attr]
