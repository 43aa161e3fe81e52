"""The games' closed forms."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from vitrail.objectives.adversarial import hinge, nonsaturating, wasserstein
from vitrail.objectives.adversarial._adversarial import PENALTIES

REAL, FAKE = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, -0.5, 0.25])


def test_hinge() -> None:
    game = hinge.Config().build()
    expected = 0.5 * ((0 + 0.5 + 2) / 3 + (0 + 0.5 + 1.25) / 3)
    assert float(game.judged(REAL, FAKE)) == pytest.approx(expected)
    assert float(game.fooled(FAKE)) == pytest.approx((3 + 0.5 - 0.25) / 3)


def test_a_margin_of_one_is_enough_for_hinge() -> None:
    real, fake = torch.tensor([1.01], requires_grad=True), torch.tensor([-1.01], requires_grad=True)
    loss = hinge.Config().build().judged(real, fake)
    loss.backward()
    assert float(loss) == float(real.grad) == float(fake.grad) == 0  # type: ignore[arg-type]


def test_nonsaturating_is_binary_cross_entropy() -> None:
    game, cross = nonsaturating.Config().build(), binary_cross_entropy_with_logits
    expected = 0.5 * (cross(REAL, torch.ones(3)) + cross(FAKE, torch.zeros(3)))
    torch.testing.assert_close(game.judged(REAL, FAKE), expected)
    torch.testing.assert_close(game.fooled(FAKE), cross(FAKE, torch.ones(3)))


def test_nonsaturating_pulls_hardest_where_the_decoder_is_worst() -> None:
    """The saturating game, log(1 - sigma), would hardly pull there."""
    fake = torch.tensor([-20.0, 0.0, 20.0], requires_grad=True)
    (slope,) = torch.autograd.grad(nonsaturating.Config().build().fooled(fake), fake)
    torch.testing.assert_close(3 * slope, torch.tensor([-1.0, -0.5, 0.0]))
    assert softplus(torch.tensor(200.0)).isfinite()
    assert nonsaturating.Config().build().fooled(torch.tensor([-200.0])) == 200


def test_wasserstein() -> None:
    game = wasserstein.Config().build()
    assert float(game.judged(REAL, FAKE)) == pytest.approx(-3.25 / 3 - 1.5 / 3)
    assert float(game.fooled(FAKE)) == pytest.approx(3.25 / 3)


def test_wasserstein_comes_with_its_penalty() -> None:
    assert wasserstein.Config().gradient_penalty
    assert PENALTIES["gradient_penalty"] == 10
    for game in (hinge, nonsaturating, wasserstein):
        assert {"adversarial"} == set(game.Config.usual_weights)
