"""What the decoder hears of its discriminator, against differentiating through the discriminator itself."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from vitrail import catalog
from vitrail.model.build import build_codec, build_perceptual
from vitrail.model.recipe import Recipe, override
from vitrail.networks.discriminator._discriminator import Discriminator, Opinion
from vitrail.objectives.adversarial import hinge, wasserstein
from vitrail.objectives.adversarial._adversarial import logits, matching
from vitrail.training.adversary import Adversary, Contest, Making
from vitrail.training.codec_step import CodecStep
from vitrail.training.generator_step import GeneratorStep
from vitrail.training.precision import compiled
from vitrail.training.weights import weigh
from vitrail.types import Batch, DataSpec

SPEC = DataSpec(shape=(1, 8, 8))


class Judge(Discriminator):
    """A small smooth one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 64, 1)

    def forward(self, x: Tensor) -> Opinion:
        h = self.first(x).tanh()
        return Opinion(self.head(h.flatten(1)), (h,))


def adversary(**settings: object) -> Adversary:
    torch.manual_seed(0)
    made = Adversary(Judge(), hinge.Config(begin=0.5, **settings).build())
    made.at(1.0)
    return made


def making(balanced: bool) -> tuple[Making, Tensor, Tensor]:
    """Reconstructions w x of x, whose squared error and whose look are both slopes of w."""
    x, w = torch.rand(6, 1, 8, 8), torch.tensor(0.5, requires_grad=True)
    made = w * x
    error = (made - x).square().mean()
    return Making(x, made, len(x), error if balanced else None, w if balanced else None), w, error


def test_unbalanced_its_gradient_is_that_of_the_game() -> None:
    opponent = adversary(balance="fixed", matching=True)
    made, w, _ = making(balanced=False)
    answer = opponent.answer(made)
    answer.terms["adversarial"].backward(retain_graph=True)
    heard, w.grad = w.grad, None
    answer.terms["matching"].backward(retain_graph=True)
    matched, w.grad = w.grad, None
    assert [weight.grad for weight in opponent.parameters()] == [None] * 4  # the discriminator learns nothing from it

    opinion = opponent.discriminator(made.made)
    fooled = opponent.game.fooled(logits(opinion))
    (wanted,) = torch.autograd.grad(fooled, w, retain_graph=True)
    torch.testing.assert_close(heard, wanted)
    torch.testing.assert_close(answer.terms["adversarial"], fooled)
    (wanted,) = torch.autograd.grad(matching(opponent.discriminator(made.x), opinion), w)
    torch.testing.assert_close(matched, wanted)


def test_balanced_its_gradient_becomes_as_long_as_that_of_the_other_terms() -> None:
    opponent = adversary(limit=1e6)
    first, w, error = making(balanced=True)
    answer = opponent.answer(first)
    (nothing,) = torch.autograd.grad(answer.terms["adversarial"], w, retain_graph=True)
    assert nothing == 0  # nothing was measured before the first step
    assert answer.terms["adversarial"] != 0  # but the log says what the game says
    opponent.after_step()
    again = opponent.answer(first)
    (heard,) = torch.autograd.grad(again.terms["adversarial"], w, retain_graph=True)
    (others,) = torch.autograd.grad(error, w)
    torch.testing.assert_close(heard.abs(), others.abs())


def test_a_set_back_makes_it_quieter() -> None:
    opponent = adversary(balance="fixed")
    made, w, _ = making(balanced=False)
    opponent.backoff.share.fill_(0.25)
    (heard,) = torch.autograd.grad(opponent.answer(made).terms["adversarial"], w, retain_graph=True)
    opponent.backoff.share.fill_(1.0)
    (whole,) = torch.autograd.grad(opponent.answer(made).terms["adversarial"], w)
    torch.testing.assert_close(heard, 0.25 * whole)


def test_all_rounds_of_a_step_are_one_contest() -> None:
    opponent = adversary(balance="fixed")
    rounds = [making(balanced=False)[0] for _ in range(2)]
    for each in rounds:
        opponent.answer(each)
    contest = opponent.contest()
    assert isinstance(contest, Contest)
    torch.testing.assert_close(contest.real, torch.cat([each.x for each in rounds]))
    torch.testing.assert_close(contest.fake, torch.cat([each.made for each in rounds]).detach())
    assert not contest.fake.requires_grad
    assert opponent.contest() is None


def test_before_its_time_it_says_nothing() -> None:
    step = codec_step("vqgan")
    step.at(0.1)
    losses = step(batch())
    assert losses.terms["adversarial"] == 0
    assert "adversarial_factor" not in losses.stats
    assert step.contest() is None
    step.eval().at(1.0)
    assert step(batch()).terms["adversarial"] == 0  # nor outside of training


@pytest.mark.parametrize("balance", ["adaptive", "gradients", "fixed"])
def test_a_codec_hears_it_by_every_balance(balance: str) -> None:
    step = codec_step("vqgan", **{"adversarial.balance": balance})
    step.at(1.0)
    for _ in range(2):
        losses = step(batch())
        assert step.contest() is not None
        step.after_step()
    losses.terms["adversarial"].backward()
    assert step.codec.last.grad is not None
    assert step.codec.last.grad.any()


def test_half_of_what_is_judged_are_dreams() -> None:
    step = codec_step("vae-gan")
    step.at(1.0)
    data = batch(5)
    step(data)
    contest = step.contest()
    assert contest.fake.shape == contest.real.shape == data.x.shape
    torch.manual_seed(3)
    first = step.codec.dream(2, (8, 8))
    torch.manual_seed(3)
    assert torch.equal(first, step.codec.dream(2, (8, 8)))
    assert 0 <= first.detach().min() <= first.detach().max() <= 1


def test_a_perceptual_term_sends_the_same_slope_beside_a_discriminator() -> None:
    """There it is taken once and joined by hand."""
    slopes = []
    for beside in (False, True):
        step = codec_step("vqgan", perceptual="gradient")
        if not beside:
            step.adversary = None
        step.at(0.0)
        torch.manual_seed(0)
        data = batch()
        step(data).terms["perceptual"].mean().backward()
        slopes.append(step.codec.last.grad)
    torch.testing.assert_close(*slopes)


def test_rounds_and_processes_give_the_balance_of_the_whole_batch() -> None:
    whole, cut = (
        codec_step("vqgan", **{"bottleneck": "none", "bottleneck.channels": 4, "weights.commitment": 0.0}) for _ in "ab"
    )
    data = batch(6)
    for step, parts in ((whole, 1), (cut, 3)):
        step.at(1.0)
        for x in data.x.chunk(parts):
            step(Batch(x, torch.zeros(len(x)).long(), torch.arange(len(x))))
        step.after_step()
    balances = [step.adversary.module.balance.squares for step in (whole, cut)]
    torch.testing.assert_close(
        balances[0][:2], balances[1][:2], rtol=1e-4, atol=0.0
    )  # `matching` is relative to a batch


def test_a_generator_listens_from_the_first_step() -> None:
    opponent = adversary()
    step = GeneratorStep(codec_step("vae-gan").codec, opponent)
    step.at(0.0)
    assert opponent.active
    assert step(batch()).terms["adversarial"] != 0


@pytest.mark.slow
def test_a_compiled_step_plays_too() -> None:
    step = codec_step("vqgan")
    compiled(step)
    for progress in (0.0, 1.0, 1.0):
        step.at(progress)
        weigh(step(batch()).terms, {}).backward()
        step.contest()
        step.after_step()
    assert step.codec.last.grad.isfinite().all()


def test_a_copy_of_the_step_shares_its_adversary() -> None:
    """The averaged codec needs none of its own, and a checkpoint of the codec holds none."""
    step = codec_step("vqgan")
    assert copy.deepcopy(step).adversary is step.adversary
    assert not any("adversary" in name for name in step.state_dict())


def test_the_state_of_the_game_is_saved() -> None:
    names = set(Adversary(Judge(), hinge.Config(lecam=True).build()).state_dict())
    assert {"balance.squares", "backoff.share", "game.lecam.real", "game.lecam.fake", "game.step"} <= names


def test_a_critic_measures_how_far_apart_both_sides_are() -> None:
    """After some steps its loss is about minus the Wasserstein distance of two constant sets: their distance, by slope 1."""
    torch.manual_seed(0)
    opponent = Adversary(Judge(), wasserstein.Config(begin=0.0).build())
    optimiser = torch.optim.Adam(opponent.parameters(), 2e-2)
    real, fake = torch.full((16, 1, 8, 8), 0.6), torch.full((16, 1, 8, 8), 0.4)
    for _ in range(300):
        losses = opponent(Contest(real, fake))
        optimiser.zero_grad()
        (losses.terms["discriminator"] + 10 * losses.terms["gradient_penalty"]).backward()
        optimiser.step()
    distance = (real[0] - fake[0]).norm()
    torch.testing.assert_close(-losses.terms["discriminator"], distance, rtol=0.1, atol=0.0)


def codec_step(name: str, **changes: object) -> CodecStep:
    """A recipe's step with a small codec."""
    tiny = {"network.widths": (8, 8), "network.blocks": 1, "bottleneck.channels": 4, **changes}
    recipe: Recipe = override(catalog.find("recipes", name).recipe(), tiny)
    torch.manual_seed(0)
    opponent = Adversary(Judge(), recipe.adversarial.build())
    look = build_perceptual(recipe, SPEC)
    return CodecStep(build_codec(recipe, SPEC), None, 0, None, look, opponent, recipe.weights).train()


def batch(count: int = 4) -> Batch:
    return Batch(torch.rand(count, 1, 8, 8), torch.zeros(count).long(), torch.arange(count))
