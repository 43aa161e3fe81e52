"""What the latent space holds: walks from one picture to another, and walks along its main directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from vitrail.data.modalities import image
from vitrail.errors import UsageError
from vitrail.model.model import Model
from vitrail.priors.normal import Normal
from vitrail.tasks._parameters import MaybePictures, Run, Seed

POPULATION = 256  # samples drawn to find the directions where no pictures are given
GAP = 2  # pixels between pictures
PARALLEL = 1e-4  # sine of the angle below which no great circle is defined well


@dataclass(frozen=True)
class Exploration:
    """Two sets of walks; every row is one."""

    interpolation: Tensor  # (rows, steps, C, H, W) from one picture to the next
    traversal: Tensor  # (directions, steps, C, H, W) along one direction, all others held still
    share: tuple[float, ...]  # of the latents' variance that each direction holds

    def sheet(self, least: int = 56) -> Tensor:
        """(C, H', W'): all walks in one picture, interpolation above; pictures with sides below `least` are enlarged."""
        rows = torch.cat([self.interpolation, self.traversal])
        factor = max(1, -(-least // min(rows.shape[-2:])))
        large = rows.flatten(0, 1).repeat_interleave(factor, -1).repeat_interleave(factor, -2)
        return image.grid(large, rows.shape[1], GAP)


@torch.inference_mode()
def explore(
    model: Run,
    x: MaybePictures = None,
    *,
    rows: Annotated[int, Field(ge=1, le=64, description="walks from one picture to another")] = 4,
    directions: Annotated[int, Field(ge=1, le=64, description="walks along a direction of the latent space")] = 8,
    steps: Annotated[int, Field(ge=3, le=64, description="pictures in a walk")] = 9,
    span: Annotated[float, Field(gt=0, description="how far to walk along a direction, in standard deviations")] = 2.5,
    seed: Seed = 0,
) -> Exploration:
    """Walk through the latent space.

    Walks lead in a straight line through z, unquantized, from picture 0 to 1, from 2 to 3 and so on; where the prior is normal,
    along a great circle, since the straight line passes through latents that the prior never draws.
    Directions are the channels that vary most where the latent is one vector, else principal components of the latents of x.
    Raises UsageError on fewer than two pictures, and on none where the model wants a condition to draw its own.
    """
    if x is None and model.prior is not None and model.prior.conditional:
        raise UsageError("this model draws nothing without a condition: give it pictures to walk between")
    z, space = _latents(model, x, seed)
    if len(z) < 2:
        raise UsageError(f"a walk leads from one picture to another: give at least 2, got {len(z)}")
    count = min(rows, len(z) // 2)
    round_ = isinstance(model.prior, Normal)
    walks = between(z[0 : 2 * count : 2], z[1 : 2 * count : 2], steps, round_)
    axes, spread, share = main_directions(z, directions)
    along = traversed(z, axes, torch.linspace(-span, span, steps, device=z.device)[:, None] * spread)
    return Exploration(_decoded(model, walks, space), _decoded(model, along, space), tuple(share.tolist()))


def _latents(model: Model, x: Tensor | None, seed: int) -> tuple[Tensor, tuple[int, ...]]:
    """z (B, C, *S) of the pictures, or of samples, and the size that they decode to; those of a generator are its noise."""
    if x is None and model.codec.encoder is None:
        return model.draw(POPULATION, seed=seed), model.spec.space
    x = model.sample(POPULATION, seed=seed) if x is None else model.read(x)
    return model.encode(x).z, tuple(x.shape[2:])


def between(start: Tensor, end: Tensor, steps: int, great_circle: bool = False) -> Tensor:
    """(B, C, *S) twice -> (B, steps, C, *S), equal steps from start to end, both included.

    Great circle: Shoemake 1985, with lengths interpolated linearly.
    """
    t = torch.linspace(0, 1, steps, device=start.device)[:, None]  # (steps, 1)
    a, b = start.flatten(1)[:, None], end.flatten(1)[:, None]  # (B, 1, D)
    walk = _great_circle(a, b, t) if great_circle else torch.lerp(a, b, t)
    return walk.unflatten(2, start.shape[1:])


def _great_circle(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(B, 1, D) twice and t (steps, 1) -> (B, steps, D); between nearly parallel ends the circle is a line."""
    length_a, length_b = (each.norm(dim=-1, keepdim=True).clamp_min(PARALLEL) for each in (a, b))
    cosine = (a * b).sum(-1, keepdim=True) / (length_a * length_b)
    angle = cosine.clamp(-1, 1).acos()  # (B, 1, 1)
    turned = (((1 - t) * angle).sin() * a / length_a + (t * angle).sin() * b / length_b) / angle.sin()
    circle = turned * torch.lerp(length_a, length_b, t)
    return torch.where(angle.sin() > PARALLEL, circle, torch.lerp(a, b, t))


def main_directions(z: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors (k, D) of flattened z (B, C, *S), standard deviations along them (k,), and their shares of the variance."""
    centred = (z - z.mean(0)).flatten(1)
    total = centred.square().sum().clamp_min(torch.finfo(z.dtype).tiny)
    if z.dim() == 2:
        energy, order = centred.square().sum(0).sort(descending=True, stable=True)
        axes = torch.eye(z.shape[1], device=z.device)[order[:most]]
    else:
        _, values, axes = torch.linalg.svd(centred, full_matrices=False)
        energy, axes = values.square(), _signed(axes[:most])
    energy = energy[: len(axes)]
    return axes, (energy / max(len(z) - 1, 1)).sqrt(), energy / total


def traversed(z: Tensor, axes: Tensor, places: Tensor) -> Tensor:
    """(k, steps, C, *S): the latent that is nearest to the mean, put at places (steps, k) along each of the axes (k, D)."""
    rows, mean = z.flatten(1), z.mean(0).flatten()
    start = rows[(rows - mean).square().sum(1).argmin()]
    still = start - ((start - mean) @ axes.T)[:, None] * axes  # (k, D): at 0 along its own axis
    walk = still[:, None] + places.T[..., None] * axes[:, None]  # (k, steps, D)
    return walk.unflatten(2, z.shape[1:])


def _signed(axes: Tensor) -> Tensor:
    """Each axis (k, D) turned so that its largest entry is positive: a decomposition leaves the sign open."""
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return axes * largest.sign()


def _decoded(model: Model, walks: Tensor, space: tuple[int, ...]) -> Tensor:
    """(rows, steps, C, *S) -> (rows, steps, C, H, W)."""
    return model.decode(walks.flatten(0, 1), space).unflatten(0, walks.shape[:2])
