"""How strongly the decoder listens to its discriminator: as much as the other terms allow, and less after a set-back.

Both states are running numbers of earlier steps, averaged over rounds and processes and kept in checkpoints, so that the factor is
the same for all rounds and processes of a step and after a resume. (Where it is measured anew in every batch, it swings.)
Nothing here asks the device for a number, so that a GPU need not be waited for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.processes import mean_of_rounds

MEMORY = 0.95  # decay of the running slopes, per step
SETTLED = 20  # steps after which the running slopes mean something
RISE = 1.002  # per step, at most, of the others' slope
LATELY, USUALLY = 0.9, 0.99  # decays of the two running errors
WORSE = 1.25  # recent error over the usual one: a set-back
COOLING = 50  # steps between two reactions
RECOVERY = 1.01  # per step


class Balance(nn.Module):
    """The factors that make the gradients of a game's terms as long as that of the terms that judge reconstructions otherwise.

    lambda = |slope of the others| / |slope of the term|, at most `limit`.  Esser et al. 2021, eq. 7, at the decoder's last layer;
    Defossez et al. 2022, section 3.4, at the decoder's output. Here from running mean squares, and that of the others rises
    slowly only: otherwise a decoder that the game makes worse would be told to listen to it more.
    """

    squares: Tensor
    steps: Tensor

    def __init__(self, names: tuple[str, ...], limit: float) -> None:
        super().__init__()
        self.names, self.limit = names, limit
        # Running mean squared slopes: of the others, then of each term.
        self.register_buffer("squares", torch.zeros(1 + len(names)))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # learnt from
        self.seen: list[tuple[int, Tensor]] = []  # (samples, slopes) of the rounds since the last step

    def factors(self) -> dict[str, Tensor]:
        """A scalar for each term; 0 before anything was measured."""
        others, own = self.squares[0], self.squares[1:]
        ratios = (others / own.clamp_min(1e-20)).sqrt().clamp_max(self.limit) * (self.steps > 0)
        return dict(zip(self.names, ratios, strict=True))

    def see(self, samples: int, slopes: Tensor) -> None:
        """Measure a round: the slopes (1 + terms, D) of the others and of each term, which add up over rounds."""
        self.seen.append((samples, slopes.detach()))

    @torch.no_grad()
    def after_step(self) -> None:
        """Take in what was seen, unless it is not finite."""
        slopes = mean_of_rounds(self.seen)
        if slopes is None:
            return
        squares = slopes.square().sum(1)
        running = torch.where(self.steps > 0, torch.lerp(squares, self.squares, MEMORY), squares)
        highest = torch.where(self.steps < SETTLED, running[0], RISE * self.squares[0])
        running[0] = torch.minimum(running[0], highest)
        sound = squares.isfinite().all()
        self.squares.copy_(torch.where(sound, running, self.squares))
        self.steps += sound


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
    def after_step(self, heard: bool = True) -> None:
        """Take in what was seen, and react if the discriminator is heard at all. An error that is not finite is a set-back."""
        error = mean_of_rounds(self.seen)
        if error is None:
            return
        sound = error.isfinite()
        decays = self.errors.new_tensor([LATELY, USUALLY]) * (self.steps > 0)
        self.errors.copy_(torch.where(sound, torch.lerp(error.expand(2), self.errors, decays), self.errors))
        self.steps += sound
        worse = ~sound | (self.errors[0] > WORSE * self.errors[1])
        reacts = worse & (self.cooling == 0) & heard
        self.share.copy_(torch.where(reacts, 0.5 * self.share, (RECOVERY * self.share).clamp_max(1.0)))
        self.cooling.copy_(torch.where(reacts, COOLING, (self.cooling - 1).clamp_min(0)))
