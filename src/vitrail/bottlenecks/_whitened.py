"""A projection whose outputs have mean 0 and covariance 1: how codes that do not learn stay in use.

Codes on a fixed grid cannot move to where vectors are. So vectors are moved to where the codes are: from the first step every
channel is centred on the grid, at the grid's scale, and no two channels tell the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vitrail.bottlenecks._bottleneck import Pointwise
from vitrail.bottlenecks._nearest import of_first, summed

DECAY = 0.99  # of the running statistics at the end of their warm-up
RIDGE = 1e-4  # of the mean variance, added to every direction: how far a direction without variance is stretched
LEAST = 1e-8  # variance added where there is none at all; it bounds the gradient at 0


class Projection(nn.Module):
    """A linear map of the channels of h, then, if `whiten`, of the result by running statistics that take no gradient.

    Statistics are those of all accumulation rounds and processes; they change in `after_step` only.
    """

    mean: Tensor
    covariance: Tensor
    matrix: Tensor
    steps: Tensor

    def __init__(self, width: int, channels: int, whiten: bool) -> None:
        super().__init__()
        self.whiten = whiten
        self.linear = Pointwise(width, channels, bias=not whiten)  # a bias would run away from the mean behind it
        if whiten:
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("covariance", torch.eye(channels))
            self.register_buffer("matrix", torch.eye(channels))  # covariance to the power -1/2
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # learnt from; 0: statistics are made up
        self.seen: list[Tensor] = []  # moments since the last step

    def forward(self, h: Tensor) -> Tensor:
        """(B, width, *S) -> (B, C, *S). Before there are statistics, a training batch is whitened by its own."""
        projected = self.linear(h)
        if not self.whiten:
            return projected
        vectors = projected.movedim(1, -1)  # (B, *S, C)
        mean, matrix = self.mean, self.matrix
        if self.training:
            self.seen.append(moments(vectors.detach().flatten(0, -2)))
            if self.steps == 0:
                mean, covariance = statistics(self.seen[-1])
                matrix = inverse_root(covariance)
        return ((vectors - mean) @ matrix).movedim(-1, 1)

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the running statistics, a batch that is not finite excepted."""
        seen, self.seen = self.seen, []
        if not seen:
            return
        total = summed(torch.stack(seen).sum(0))
        if not total.isfinite().all():
            return  # a step that the guard refuses
        steps = int(self.steps)
        new = 1 - min(DECAY, steps / (9 + steps))  # all of the first batch, then less and less
        mean, covariance = statistics(total)
        self.mean.lerp_(mean, new)
        self.covariance.lerp_(covariance, new)
        self.matrix.copy_(of_first(inverse_root(self.covariance)))
        self.steps += 1


def moments(rows: Tensor) -> Tensor:
    """(N, C) -> (C + 1, C + 1) sums of the products of (v, 1) with itself; double, since means may be far from 0."""
    rows = nn.functional.pad(rows.double(), (0, 1), value=1.0)
    return rows.T @ rows


def statistics(total: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of products (C + 1, C + 1) -> mean (C,) and covariance (C, C), single precision."""
    average = total / total[-1, -1]
    mean = average[-1, :-1]
    return mean.float(), (average[:-1, :-1] - mean.outer(mean)).float()


def inverse_root(covariance: Tensor) -> Tensor:
    """The symmetric A for which A cov A = 1: of all maps that whiten, the one that turns vectors least (Kessy et al. 2018, ZCA)."""
    values, vectors = torch.linalg.eigh(covariance)
    ridge = RIDGE * values.clamp_min(0).mean() + LEAST
    return vectors * (values.clamp_min(0) + ridge).rsqrt() @ vectors.T
