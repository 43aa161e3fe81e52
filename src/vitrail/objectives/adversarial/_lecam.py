"""LeCAM: keeps the discriminator's judgements of one side near their running mean on the other.

Source: Tseng et al. 2021, "Regularizing generative adversarial networks under limited data", eq. 4,
with the rectifier of its authors' implementation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.processes import mean_of_rounds

DECAY = 0.99  # of the running means, per step


class Lecam(nn.Module):
    """The penalty with its two running means, which are saved, and the same on every process."""

    real: Tensor
    fake: Tensor
    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("real", torch.zeros(()))  # running mean of the logits of data
        self.register_buffer("fake", torch.zeros(()))  # and of what the decoder made
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # learnt from; 0: the means say nothing yet
        self.seen: list[tuple[int, Tensor]] = []  # (samples, mean logits (2,)) of the rounds since the last step

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Scalar, from logits of either side; 0 in the first step. In training it remembers their means until `after_step`."""
        if self.training:
            self.seen.append((len(real), torch.stack([real.detach().float().mean(), fake.detach().float().mean()])))
        penalty = (real - self.fake).relu().square().mean() + (self.real - fake).relu().square().mean()
        return penalty * (self.steps > 0)

    @torch.no_grad()
    def after_step(self) -> None:
        """Take the means of the step in."""
        both = mean_of_rounds(self.seen)
        if both is None or not both.isfinite().all():  # of a refused step
            return
        weight = 1 - DECAY if self.steps else 1.0
        self.real.lerp_(both[0], weight)
        self.fake.lerp_(both[1], weight)
        self.steps += 1
