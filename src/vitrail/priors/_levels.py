"""Which noise levels a net is trained at, and how much each counts."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from vitrail.samplers.path import Level, Path

Name = Literal["uniform", "cosine", "log-normal", "logit-normal"]

EDGE = 1e-6  # share of the distribution that is left out at either end: there lie infinities
GOLDEN = (math.sqrt(5) - 1) / 2


class At(NamedTuple):
    """Where noisy samples lie on a path: z = a x + s n at t; (B,) float64 each."""

    t: Tensor
    a: Tensor
    s: Tensor

    @classmethod
    def everywhere(cls, count: int, t: float, level: Level, device: torch.device) -> At:
        """The same for all of a batch."""
        return cls(*(torch.full((count,), one, device=device, dtype=torch.float64) for one in (t, *level)))

    @classmethod
    def straight(cls, t: Tensor) -> At:
        """On straight lines, z = (1 - t) x + t n."""
        return cls(t, 1 - t, t)

    def rows(self, which: slice) -> At:
        """Some of the samples."""
        return At(self.t[which], self.a[which], self.s[which])


def spread(count: int, device: torch.device) -> Tensor:
    """(count,) float64, each uniform in (0, 1), any run of them evenly spread: multiples of the golden ratio from a random start.

    The variance over batches is far below that of independent draws.  Kingma et al. 2021, appendix I.1, with equal steps.
    """
    start = torch.rand((), device=device, dtype=torch.float64)
    steps = torch.arange(count, device=device, dtype=torch.float64) * GOLDEN
    return ((start + steps) % 1).clamp(EDGE, 1 - EDGE)


def times(name: Name, path: Path, share: Tensor, mean: float, std: float, shift: float) -> Tensor:
    """The t of a path below which a share (B,) of the training lies, float64.

    uniform: in t. cosine: in the angle whose tangent is sigma, which the cosine path has for t. log-normal: ln sigma is normal,
    with mean and std (Karras et al. 2022, eq. 7). logit-normal: ln(t / (1 - t)) is (Esser et al. 2024, eq. 19).
    shift: every sigma times this; on straight lines t -> shift t / (1 + (shift - 1) t) (Esser et al. 2024, eq. 23).
    """
    if name == "uniform":
        t = share
    elif name == "cosine":
        t = path.time_of((share * (math.pi / 2)).tan())
    elif name == "log-normal":
        t = path.time_of((mean + std * torch.special.ndtri(share)).exp())
    else:
        t = (mean + std * torch.special.ndtri(share)).sigmoid()
    if shift == 1:
        return t
    a, s = path.level_at(t)
    return path.time_of(shift * s / a)


class Uncertainty(nn.Module):
    """u(t): the log of the squared error to be expected at t, learnt beside the net and of no use in sampling.

    Dividing errors by e^u makes every level count alike.  Karras et al. 2024 (EDM2), eqs. 20 and 21.
    """

    FEATURES = 16  # few, so that neighbouring levels are averaged
    frequency: Tensor  # (FEATURES / 2,)

    def __init__(self) -> None:
        super().__init__()
        frequency = torch.arange(self.FEATURES // 2) * math.pi
        self.register_buffer("frequency", frequency, persistent=False)
        self.head = nn.Linear(self.FEATURES, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, t: Tensor) -> Tensor:
        """t (B,) in [0, 1] -> u (B,) float32."""
        angle = t.float()[:, None] * self.frequency
        with torch.autocast(t.device.type, enabled=False):
            return self.head(torch.cat([angle.cos(), angle.sin()], dim=1)).squeeze(1)

    def balanced(self, error: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """error (B,) -> a scalar with the value of its mean and the slope of the mean of error / e^u; what u itself minimises."""
        u = self(t)
        evened = (error / u.detach().exp()).mean()
        own = (error.detach() / u.exp() + u).mean()
        return error.detach().mean() + evened - evened.detach(), own
