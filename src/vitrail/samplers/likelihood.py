"""The density that a denoiser gives to data: follow the probability flow to noise and count how much it stretches space.

On the circle z = cos(u) x + sin(u) n, with tan(u) = sigma, the flow is finite from data (u = 0) to pure noise (u = pi / 2).
Song et al. 2021b, section 4.3 and appendix D.2; the circle: Salimans & Ho 2022, appendix D.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from vitrail.samplers.continuous._solver import Denoise, Levels
from vitrail.samplers.inversion import rising
from vitrail.samplers.path import Level


def log_density(denoise: Denoise, x: Tensor, levels: Levels, probes: Tensor | None = None) -> Tensor:
    """Log of the density at x (B, C, *S), in nats, (B,) float64; differences by Heun's method between the levels.

    levels: as for sampling. From the last one with noise on, x counts as its data, so that one should be low (sigma << the detail
    of the data); at the first one z counts as standard normal, so that is best pure noise: sigma 80 leaves errors of 1 / 80. Equal
    steps of u suit, which are those of the cosine path.
    probes (P, B, C, *S): signs or normal noise that estimate the divergence without bias (Hutchinson 1990), with one backward pass
    each; None: exact, with one for every value of a sample. denoise must be differentiable in z, row by row.
    Raises UsageError where fewer than two levels have noise.
    """
    angles = [math.atan(level.sigma) for level in rising(levels)]
    z, total = x * math.cos(angles[0]), torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for here, there in pairwise(angles):
        step = there - here
        slope, grows = _flow(denoise, z, here, probes)
        slope_there, grows_there = _flow(denoise, z + step * slope, there, probes)
        z = z + step / 2 * (slope + slope_there)
        total = total + step / 2 * (grows + grows_there)
    values = x[0].numel()
    normal = -0.5 * z.double().square().flatten(1).sum(1) - values / 2 * math.log(2 * math.pi)
    return normal + total + values * math.log(math.cos(angles[0]))


def _flow(denoise: Denoise, z: Tensor, angle: float, probes: Tensor | None) -> tuple[Tensor, Tensor]:
    """dz / du (B, C, *S) and its divergence (B,) float64."""
    a, s = (0.0, 1.0) if angle == math.pi / 2 else (math.cos(angle), math.sin(angle))
    z = z.detach().requires_grad_()
    with torch.enable_grad():
        x = denoise(z, Level(a, s))
        spread = _divergence(x, z, probes)
    return (a * z - x).detach() / s, (a * z[0].numel() - spread) / s


def _divergence(x: Tensor, z: Tensor, probes: Tensor | None) -> Tensor:
    """Trace of dx / dz per sample, (B,) float64: exact, or the mean over probes e of e . (dx / dz) e."""
    directions = _axes(z) if probes is None else probes.to(z)
    found = torch.zeros(len(z), dtype=torch.float64, device=z.device)
    for e in directions:
        (back,) = torch.autograd.grad((x * e).sum(), z, retain_graph=True)
        found = found + (back * e).double().flatten(1).sum(1)
    return found if probes is None else found / len(probes)


def _axes(z: Tensor) -> Iterator[Tensor]:
    """Every unit vector of a sample, broadcast over the batch."""
    for i in range(z[0].numel()):
        yield torch.zeros_like(z[0]).flatten().index_fill(0, torch.tensor([i], device=z.device), 1.0).view_as(z[:1])
