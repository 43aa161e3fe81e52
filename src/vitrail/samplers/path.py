"""Paths from data to noise: z = a(t) x + s(t) n, at t = 0 (almost) data, at t = 1 (almost) noise.

Every path is the same process seen at another scale: y = z / a is data under noise of standard deviation sigma = s / a. So a
sampler needs no more of a path than its levels, and a net trained on one can be sampled along another.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Name = Literal["rectified", "cosine", "linear", "linear-zero", "exploding"]


class Level(NamedTuple):
    """What a noisy latent z = signal * x + noise * n is made of; x data of variance 1, n standard normal."""

    signal: float
    noise: float

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise relative to the data; infinite where there is no signal."""
        return self.noise / self.signal if self.signal else math.inf

    @property
    def half_log_snr(self) -> float:
        """-ln sigma, from -inf (noise only) to inf (data only); half the log of the signal-to-noise ratio."""
        return -math.log(self.sigma) if self.sigma else math.inf


DATA = Level(1.0, 0.0)


class Path(ABC):
    """a(t) and s(t), t in [0, 1]. Computed in float64 whatever t is."""

    steps: float = 1000.0  # what a net is told of t: t times this
    origin: float = 0.0  # the t of data, where t is counted in equal parts

    @abstractmethod
    def level_at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """a and s, of the shape of t."""

    @abstractmethod
    def time_of(self, sigma: Tensor) -> Tensor:
        """The t at which s / a = sigma, in [0, 1]; the nearer end where there is none."""

    @abstractmethod
    def level_of(self, sigma: float) -> Level:
        """The level of this path with s / a = sigma, which may be infinite where the path reaches pure noise."""

    def level(self, t: float) -> Level:
        """`level_at` for one t."""
        a, s = self.level_at(torch.tensor(t, dtype=torch.float64, device="cpu"))
        return Level(float(a), float(s))

    def time(self, sigma: float) -> float:
        """`time_of` for one sigma."""
        return float(self.time_of(torch.tensor(sigma, dtype=torch.float64, device="cpu")))

    def told(self, level: Level) -> float:
        """What a net is told of a level."""
        return self.steps * self.time(level.sigma)


class Rectified(Path):
    """z = (1 - t) x + t n: straight lines.  Liu et al. 2023; Lipman et al. 2023."""

    def level_at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        t = t.double()
        return 1 - t, t

    def time_of(self, sigma: Tensor) -> Tensor:
        sigma = sigma.double()
        return torch.where(sigma.isinf(), 1.0, sigma / (1 + sigma))

    def level_of(self, sigma: float) -> Level:
        return Level(0.0, 1.0) if math.isinf(sigma) else Level(1 / (1 + sigma), sigma / (1 + sigma))


class Preserving(Path):
    """a^2 + s^2 = 1: the variance of z stays 1."""

    def level_of(self, sigma: float) -> Level:
        return Level(0.0, 1.0) if math.isinf(sigma) else Level(1 / math.hypot(1, sigma), sigma / math.hypot(1, sigma))


class Cosine(Preserving):
    """a = cos(pi t / 2).  Nichol & Dhariwal 2021, without their offset."""

    def level_at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        angle = t.double() * (math.pi / 2)
        return torch.where(t == 1, 0.0, angle.cos()), angle.sin()

    def time_of(self, sigma: Tensor) -> Tensor:
        return sigma.double().atan() * (2 / math.pi)


class Linear(Preserving):
    """The 1000 levels of DDPM, whose variances rise linearly, with straight lines in ln sigma between them.

    zero: rescaled so that the last one is noise only, which the original forgets; the line to that one is straight in 1 / sigma.
    Sources: Ho et al. 2020, section 4; Lin et al. 2024, algorithm 1.
    """

    steps = 999.0  # so that a net is told the number of DDPM's level
    origin = -1 / 999  # DDPM's first level has noise already: data lies one level below

    def __init__(self, zero: bool = False) -> None:
        self.zero = zero
        root = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64, device="cpu")).cumprod(0).sqrt()
        if zero:
            root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
        self.signal = root  # a of every level
        self.log_sigma = 0.5 * torch.log1p(-root.square()) - root.log()  # the last is infinite where `zero`

    def level_at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        place = t.double().clamp(0, 1) * self.steps
        below = place.floor().long().clamp_max(998)
        share = place - below
        left, right = self.log_sigma.to(t.device)[below], self.log_sigma.to(t.device)[below + 1]
        sigma = torch.where(right.isinf(), left.exp() / (1 - share), (left + share * (right - left)).exp())
        a = torch.where(sigma.isinf(), 0.0, torch.rsqrt(1 + sigma.square()))
        return a, (1 - a.square()).sqrt()

    def time_of(self, sigma: Tensor) -> Tensor:
        grid, wanted = self.log_sigma.to(sigma.device), sigma.double().log()
        above = torch.searchsorted(grid, wanted.contiguous()).clamp(1, 999)
        left, right = grid[above - 1], grid[above]
        share = torch.where(right.isinf(), 1 - (left - wanted).exp(), (wanted - left) / (right - left))
        return (above - 1 + share.clamp(0, 1)) / self.steps


class Exploding(Path):
    """z = x + s n, with s from 0.002 to 80 in equal ratios: the noise grows, the data stays.  Karras et al. 2022, table 1."""

    LOWEST, HIGHEST = 0.002, 80.0

    def level_at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        s = self.LOWEST * (self.HIGHEST / self.LOWEST) ** t.double()
        return torch.ones_like(s), s

    def time_of(self, sigma: Tensor) -> Tensor:
        return ((sigma.double() / self.LOWEST).log() / math.log(self.HIGHEST / self.LOWEST)).clamp(0, 1)

    def level_of(self, sigma: float) -> Level:
        return Level(1.0, sigma)


def path(name: Name) -> Path:
    """A path by its name."""
    made: dict[str, Path] = {
        "rectified": Rectified(),
        "cosine": Cosine(),
        "linear": Linear(),
        "linear-zero": Linear(zero=True),
        "exploding": Exploding(),
    }
    return made[name]
