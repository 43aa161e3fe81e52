"""What every game must do; a new file is tested by existing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from vitrail import catalog
from vitrail.networks.discriminator._discriminator import Discriminator, Opinion
from vitrail.objectives.adversarial._adversarial import Adversarial, Settings, matching

FOLDER = "objectives/adversarial"
NAMES = catalog.names(FOLDER)
PENALTIES = Adversarial.OWN[1:]
games = pytest.mark.parametrize("name", NAMES)


def build(name: str, **settings: Any) -> Adversarial:
    game: Adversarial = catalog.find(FOLDER, name).Config(**settings).build()
    return game


def off(**but: bool) -> dict[str, bool]:
    return {**dict.fromkeys(PENALTIES, False), **but}


@games
def test_the_discriminator_is_best_where_it_gives_data_more(name: str) -> None:
    """Its descent raises logits of data and lowers the others; the judgement of a pair falls with their distance."""
    game = build(name)
    real, fake = torch.zeros(4, 1, 2, requires_grad=True), torch.zeros(4, 1, 2, requires_grad=True)
    game.judged(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    right, even, wrong = (float(game.judged(torch.tensor(d), torch.tensor(-d))) for d in (0.9, 0.0, -0.9))
    assert right < even < wrong


@games
def test_the_decoder_is_best_where_it_is_taken_for_data(name: str) -> None:
    game, fake = build(name), torch.linspace(-3, 3, 7).requires_grad_()
    game.fooled(fake).backward()
    assert fake.grad is not None
    assert (fake.grad < 0).all()
    losses = [float(game.fooled(torch.tensor(logit))) for logit in (-2.0, 0.0, 2.0)]
    assert losses == sorted(losses, reverse=True)


@games
def test_the_players_want_opposite_things_of_what_was_made(name: str) -> None:
    game, fake = build(name), torch.linspace(-0.9, 0.9, 5).requires_grad_()
    (judges,) = torch.autograd.grad(game.judged(torch.zeros(5), fake), fake)
    (fools,) = torch.autograd.grad(game.fooled(fake), fake)
    assert (judges * fools < 0).all()


@games
def test_one_descent_of_each_player_helps_it(name: str, linear: Discriminator, real: Tensor, fake: Tensor) -> None:
    game, made = build(name, **off()), fake.clone().requires_grad_()
    terms, _ = game.terms(linear, real, made.detach())
    terms["discriminator"].backward()
    with torch.no_grad():
        before = linear(real).logits.mean() - linear(fake).logits.mean()
        for weight in linear.parameters():
            assert weight.grad is not None
            weight -= 0.1 * weight.grad
        assert linear(real).logits.mean() - linear(fake).logits.mean() > before
    game.fooled(linear(made).logits).backward()
    assert made.grad is not None
    assert linear(made - made.grad).logits.mean() > linear(made).logits.mean()


@games
@pytest.mark.parametrize("penalty", [None, *PENALTIES])
def test_terms_are_what_was_asked_for(
    name: str, penalty: str | None, linear: Discriminator, real: Tensor, fake: Tensor
) -> None:
    game = build(name, **off(**({penalty: True} if penalty else {})))
    terms, stats = game.terms(linear, real, fake)
    assert set(terms) == {"discriminator", *([penalty] if penalty else [])}
    assert all(term.dim() == 0 and term.dtype == torch.float32 for term in terms.values())
    assert not any(value.requires_grad for value in stats.values())
    assert 0 <= stats["told_apart"] <= 1
    assert bool(list(game.parameters())) is False  # a game has nothing to learn


@games
def test_terms_are_scalars_in_float32_under_autocast(
    name: str, linear: Discriminator, real: Tensor, fake: Tensor
) -> None:
    game = build(name, r1=True, gradient_penalty=True, lecam=True)
    torch.manual_seed(0)
    exact, _ = game.terms(linear, real, fake)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = game.terms(linear, real, fake)
    for key, term in exact.items():
        assert rough[key].dtype == torch.float32
        torch.testing.assert_close(rough[key], term, rtol=0.05, atol=0.05)
    for penalty in ("r1", "gradient_penalty"):
        torch.testing.assert_close(rough[penalty], exact[penalty])  # not computed in bf16 at all
    torch.stack(list(rough.values())).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in linear.parameters())


@games
def test_penalties_on_slopes_take_turns(name: str, linear: Discriminator, real: Tensor, fake: Tensor) -> None:
    game = build(name, **off(r1=True), every=3)
    found = []
    for _ in range(5):
        found.append(game.terms(linear, real, fake)[0]["r1"].item())
        game.after_step()
    assert found[1] == found[2] == found[4] == 0
    assert found[0] == found[3] == pytest.approx(1.5 * linear.weight.square().sum().item())  # type: ignore[union-attr,operator]


@games
def test_whose_turn_it_is_survives_saving(name: str, linear: Discriminator, real: Tensor, fake: Tensor) -> None:
    game = build(name, **off(r1=True, lecam=True), every=3)
    for _ in range(2):
        game.terms(linear, real, fake)
        game.after_step()
    again = build(name, **off(r1=True, lecam=True), every=3)
    again.load_state_dict(game.state_dict())
    for _ in range(2):
        one, other = (each.terms(linear, real, fake)[0] for each in (game, again))
        assert all(torch.equal(one[key], other[key]) for key in one)
        game.after_step()
        again.after_step()


@games
def test_the_log_tells_how_well_the_sides_are_told_apart(name: str) -> None:
    class Twice(Discriminator):
        """The sample itself, doubled."""

        def forward(self, x: Tensor) -> Opinion:
            return Opinion(2 * x, (x,))

    game, low, high = build(name, **off()), torch.full((4, 1), 0.2), torch.full((4, 1), 0.7)
    _, stats = game.terms(Twice(), high, low)
    assert stats["told_apart"] == 1
    assert (float(stats["logits_real"]), float(stats["logits_fake"])) == pytest.approx((1.4, 0.4))
    assert game.terms(Twice(), low, high)[1]["told_apart"] == 0


def test_matching_is_relative_and_sends_its_slope_to_what_was_made() -> None:
    a = torch.tensor([[1.0, -3.0]], requires_grad=True)  # mean size 2
    b = torch.tensor([[2.0, -1.0]], requires_grad=True)  # mean distance 1.5
    one = matching(Opinion(a, (a,)), Opinion(b, (b,)))
    two = matching(Opinion(a, (a, 10 * a)), Opinion(b, (b, 10 * b)))
    torch.testing.assert_close(one, torch.tensor(0.75))
    torch.testing.assert_close(two, one)
    one.backward()
    assert a.grad is None
    assert b.grad is not None
    assert matching(Opinion(a, (a,)), Opinion(a, (a,))).detach() == 0
    zero = torch.zeros(1, 2)
    assert matching(Opinion(zero, (zero,)), Opinion(b, (b,))).isfinite()


def test_every_penalty_is_a_switch() -> None:
    assert all(Settings.model_fields[name].annotation is bool for name in PENALTIES)
