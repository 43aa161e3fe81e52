"""Data whose denoiser and density are known in closed form, at every level of noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.samplers.path import Level


@dataclass(frozen=True)
class Mixture:
    """Round normal distributions: means (N, D), standard deviations (N,), shares (N,)."""

    means: Tensor
    widths: Tensor
    shares: Tensor

    def _variance(self, level: Level) -> Tensor:
        return level.signal**2 * self.widths.square() + level.noise**2  # (N,)

    def _log_joint(self, z: Tensor, level: Level) -> Tensor:
        """(B, N): log of share times density of z (B, D)."""
        variance = self._variance(level)
        distance = (z.unsqueeze(1) - level.signal * self.means).square().sum(-1)
        per_value = (2 * math.pi * variance).log() / 2
        return self.shares.log() - distance / (2 * variance) - z.shape[1] * per_value

    def log_density(self, z: Tensor, level: Level) -> Tensor:
        """(B,)"""
        return self._log_joint(z, level).logsumexp(1)

    def denoise(self, z: Tensor, level: Level) -> Tensor:
        """(B, D) -> the expected data, (B, D)."""
        gain = (level.signal * self.widths.square() / self._variance(level)).unsqueeze(-1)  # (N, 1)
        expected = self.means + gain * (z.unsqueeze(1) - level.signal * self.means)  # (B, N, D)
        return (self._log_joint(z, level).softmax(1).unsqueeze(-1) * expected).sum(1)


def mixture() -> Mixture:
    """Three blobs in the plane, in float64, of variance about 1."""
    means = torch.tensor([[1.0, 0.6], [-1.1, 0.4], [0.2, -1.0]], dtype=torch.float64)
    widths = torch.tensor([0.4, 0.6, 0.5], dtype=torch.float64)
    return Mixture(means, widths, torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))


def gaussian(z: Tensor, level: Level) -> Tensor:
    """The expected data where data is normal with mean 0 and standard deviation 0.7: linear in z."""
    variance = 0.7**2
    return level.signal * variance / (level.signal**2 * variance + level.noise**2) * z


def gentle(z: Tensor, level: Level) -> Tensor:
    """Some denoiser of elementary operations only, whose bits cannot depend on how many rows are computed at a time."""
    return (level.signal + 0.5) * z / (1 + z * z + level.noise)


def noise(count: int = 64, seed: int = 0) -> Tensor:
    """(count, 2) float64 standard normal."""
    return torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
