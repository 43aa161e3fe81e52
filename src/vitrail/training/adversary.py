"""The decoder's opponent: a discriminator that learns beside the codec, and what the decoder hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitrail.networks.discriminator._discriminator import Discriminator
from vitrail.objectives.adversarial._adversarial import Adversarial, logits, matching
from vitrail.objectives.adversarial._augmentation import drawn
from vitrail.training.balance import Backoff, Balance
from vitrail.training.job import Losses, StepModule


@dataclass(frozen=True)
class Contest:
    """What a discriminator's step learns from: data, and as many samples that the decoder made in the codec's step."""

    real: Tensor  # (B, C, *S) in [0, 1]
    fake: Tensor  # (B, C, *S) in [0, 1], without a graph


@dataclass(frozen=True)
class Making:
    """What the decoder made of a batch, with all that is needed to tell it how to do better."""

    x: Tensor  # (B, C, *S) data
    made: Tensor  # (B, C, *S), with a graph
    paired: int  # so many of the first are reconstructions of the first of x; the others are dreams
    # Scalar: the weighted terms that judge reconstructions otherwise.
    others: Tensor | None = None
    # Where the slopes are compared: the decoder's last weight (a parameter), or its output.
    at: Tensor | None = None


class Adversary(StepModule):
    """A discriminator in its game with a decoder.

    As a step module it is the discriminator's side: its terms on a Contest. `answer` is the decoder's side: the gradient that
    the discriminator sends back to what was made, so the discriminator itself is never part of the codec's graph.
    """

    def __init__(self, discriminator: Discriminator, game: Adversarial) -> None:
        super().__init__()
        self.discriminator, self.game = discriminator, game
        self.balance, self.backoff = Balance(game.answers, game.config.limit), Backoff()
        self.active = self.heard = False  # whether the game has begun, and whether the decoder's weight of it is not 0
        self.contests: list[Contest] = []

    def at(self, progress: float) -> None:
        self.active = progress >= self.game.config.begin
        for left_over in (self.contests, self.balance.seen, self.backoff.seen):  # of a step that was only tried
            left_over.clear()

    def forward(self, batch: Contest) -> Losses:
        """The discriminator's step."""
        return Losses(*self.game.terms(self.discriminator, batch.real, batch.fake))

    def answer(self, making: Making) -> Losses:
        """The decoder's terms: their values are what the game says, their gradients are balanced and stop at what was made."""
        made = making.made
        self.contests.append(Contest(making.x.detach(), made.detach()))
        shown = made.detach().requires_grad_()
        judge = self.game.shown(self.discriminator, drawn(shown) if self.game.config.augment else None)
        opinion = judge(shown)
        values = {"adversarial": self.game.fooled(logits(opinion))}
        if self.game.config.matching and making.paired:
            with torch.no_grad():
                of_data = judge(making.x[: making.paired])
            values["matching"] = matching(of_data, opinion.first(making.paired))
        pulls = {name: pulled(value, shown) for name, value in values.items()}
        factors, share = self._factors(making, pulls), self.backoff.share.clone()
        terms = {name: linked(made, value, factors[name] * share * pulls[name]) for name, value in values.items()}
        return Losses(terms, {"adversarial_factor": factors["adversarial"], "adversarial_share": share})

    def silent(self, x: Tensor) -> Losses:
        """`answer` before the game has begun."""
        return Losses({name: x.new_zeros(()) for name in self.game.answers})

    def contest(self) -> Contest | None:
        """What was made in the codec's step, all rounds together, for the discriminator's; None before the game has begun."""
        if not self.contests:
            return None
        together = Contest(*(torch.cat(side) for side in zip(*((c.real, c.fake) for c in self.contests), strict=True)))
        self.contests.clear()
        return together

    def after_step(self) -> None:
        if self.active:
            self.game.after_step()
        self.balance.after_step()
        self.backoff.after_step(self.heard)

    def _factors(self, making: Making, pulls: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the pulls are multiplied by, from the slopes of earlier steps; this round's are taken down for later ones."""
        if making.others is None or making.at is None or self.game.config.balance == "fixed":
            return {name: pull.new_ones(()) for name, pull in pulls.items()}
        with torch.autocast(making.made.device.type, enabled=False):
            own = [torch.autograd.grad(making.made, making.at, pull, retain_graph=True) for pull in pulls.values()]
            others = torch.autograd.grad(making.others, making.at, retain_graph=True)
        slopes = torch.stack([slope.float().flatten() for (slope,) in (others, *own)])  # (1 + terms, D)
        if not isinstance(making.at, nn.Parameter):  # each sample has its own: only their lengths can be averaged
            slopes = slopes.norm(dim=1, keepdim=True) * len(making.made) ** 0.5
        self.balance.see(len(making.made), slopes)
        return self.balance.factors()


def linked(made: Tensor, value: Tensor, pull: Tensor) -> Tensor:
    """A scalar of this value whose gradient by `made` is `pull`."""
    link = (made * pull).sum()
    return value.detach() + (link - link.detach())


def pulled(value: Tensor, shown: Tensor) -> Tensor:
    """The gradient of a scalar by what the discriminator was shown."""
    with torch.autocast(shown.device.type, enabled=False):
        (pull,) = torch.autograd.grad(value, shown, retain_graph=True)
    return pull.detach()
