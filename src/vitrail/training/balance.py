"""How strongly the decoder listens to its discriminator: as much as the other terms allow, and less after a set-back.

Both states are running numbers of earlier steps, averaged over processes and kept in checkpoints, so that the factor is the same
for all rounds and processes of a step and after a resume. (Where it is measured anew in every round it swings with the batch.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.processes import averaged

MEMORY = 0.95  # decay of the running slopes, per step
SETTLED = 20  # steps after which the running slopes mean something
LATELY, USUALLY = 0.9, 0.99  # decays of the two running errors
WORSE = 1.25  # recent error over the usual one: a set-back
COOLING = 50  # steps between two reactions
RECOVERY = 1.01  # per step


class Balance(nn.Module):
    """The factors that make the gradients of a game's terms as long as that of the terms that judge reconstructions otherwise.

    lambda = |slope of the others| / |slope of the term|, at most `limit`.  Esser et al. 2021, eq. 7, at the decoder's last layer;
    Defossez et al. 2022, section 3.4, at the decoder's output. Here from running mean squares, and that of the others only
    falls: otherwise a decoder that the game makes worse would be told to listen to it more.
    """

    squares: Tensor
    steps: Tensor

    def __init__(self, names: tuple[str, ...], limit: float) -> None:
        super().__init__()
        self.names, self.limit = names, limit
        self.register_buffer(
            "squares", torch.zeros(1 + len(names))
        )  # running mean squared slopes: of the others, of each term
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # learnt from
        self.seen: list[tuple[int, Tensor]] = []  # (samples, squared slopes) of the rounds since the last step

    def factors(self) -> dict[str, Tensor]:
        """A scalar for each term; 0 before anything was measured."""
        others, own = self.squares[0], self.squares[1:]
        ratios = (others / own.clamp_min(1e-20)).sqrt().clamp_max(self.limit) if self.steps else torch.zeros_like(own)
        return dict(zip(self.names, ratios, strict=True))

    def see(self, samples: int, others: Tensor, own: list[Tensor]) -> None:
        """Measure a round: squared lengths of the slopes of the others, and of each term."""
        self.seen.append((samples, torch.stack([others, *own]).detach()))

    @torch.no_grad()
    def after_step(self) -> None:
        """Take in what was seen, unless it is not finite."""
        squares = step_mean(self.seen)
        if squares is None or not squares.isfinite().all():
            return
        lowest = self.squares[0].clone() if self.steps >= SETTLED else torch.inf
        self.squares.lerp_(squares, 1 - MEMORY if self.steps else 1.0)
        self.squares[0].clamp_max_(lowest)
        self.steps += 1


class Backoff(nn.Module):
    """A share of the adversarial weight: halved when reconstructions suddenly get worse, then slowly given back."""

    share: Tensor
    errors: Tensor
    steps: Tensor
    cooling: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("share", torch.ones(()))
        self.register_buffer("errors", torch.zeros(2))  # running errors: recent, usual
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("cooling", torch.zeros((), dtype=torch.int64))  # steps until it may react again
        self.seen: list[tuple[int, Tensor]] = []  # (samples, error) of the rounds since the last step

    def see(self, samples: int, error: Tensor) -> None:
        """Measure a round: its mean squared error."""
        self.seen.append((samples, error.detach().float()))

    @torch.no_grad()
    def after_step(self) -> None:
        """Take in what was seen; an error that is not finite counts as a set-back."""
        error = step_mean(self.seen)
        if error is None:
            return
        sound = bool(error.isfinite())
        if sound:
            decays = self.errors.new_tensor([LATELY, USUALLY]) if self.steps else self.errors.new_zeros(2)
            self.errors.copy_(torch.lerp(error.expand(2), self.errors, decays))
            self.steps += 1
        recent, usual = self.errors
        if self.cooling == 0 and (not sound or recent > WORSE * usual):
            self.share.mul_(0.5)
            self.cooling.fill_(COOLING)
        else:
            self.share.mul_(RECOVERY).clamp_max_(1.0)
            self.cooling.sub_(1).clamp_min_(0)


def step_mean(seen: list[tuple[int, Tensor]]) -> Tensor | None:
    """The mean over the samples of all rounds and processes; None where nothing was seen. Empties the list."""
    if not seen:
        return None
    count = sum(samples for samples, _ in seen)
    mean = averaged(torch.stack([value * (samples / count) for samples, value in seen]).sum(0))
    seen.clear()
    return mean
