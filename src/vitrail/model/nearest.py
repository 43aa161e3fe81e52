"""The training pictures that samples are nearest to, and whether they are copies: in pixels, and in the codec's latent space.

A codec leaves something out, so a sample never is a training picture to the last value, and everything it decodes is alike in
what it lacks. So all pictures are looked at as the codec gives them back: samples, which are so already, training pictures and
held-out ones. Training pictures count in other forms too: raw, mirrored, moved by a pixel, turned a little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.loader import Positions, unit
from vitrail.metrics.copies import LEAST, Copies, copies, nearest
from vitrail.model.model import Model

BLOCK = 256  # pictures in memory at a time, at full size
SIDE = 32  # pixels; larger pictures are averaged down before they are compared
VALUES = 1 << 25  # of all training pictures in one space: 128 MiB
MOST = 20_000  # training pictures searched; of more, so many evenly spaced ones
CONTROLS = 500  # training pictures whose nearest other one is looked up, evenly spaced
HELDOUT = 1000  # held-out pictures
TURN = 5.0  # degrees


@dataclass(frozen=True)
class Looks:
    """N pictures as they are compared."""

    pixels: Tensor  # (N, C, h, w) in [0, 1], h and w at most SIDE
    latents: Tensor | None  # (N, D); None where the codec has no latent space of its own


def looks(model: Model, x: Tensor) -> Looks:
    """Of pictures x (N, C, H, W) as the codec gives them back: samples, or what `given_back` gives."""
    latents = model.encode(x).z.flatten(1).cpu() if _latent(model) else None
    return Looks(_small(x).cpu(), latents)


def joined(parts: list[Looks]) -> Looks:
    """One after the other."""
    latents = [part.latents for part in parts if part.latents is not None]
    return Looks(torch.cat([part.pixels for part in parts]), torch.cat(latents) if latents else None)


def given_back(model: Model, x: Tensor) -> Tensor:
    """Pictures after the codec; as they are where it only decodes or loses nothing."""
    return model.reconstruct(x) if _lossy(model) else x


def spread(size: int, most: int) -> Positions:
    """Positions of at most so many of a number of pictures, evenly spaced."""
    return np.unique(np.linspace(0, size - 1, min(size, most)).round().astype(np.int64))


def searched(model: Model, size: int, most: int = MOST) -> int:
    """How many of a number of training pictures are searched: not more than `most`, and than memory takes."""
    latent = prod(model.codec.latent_spec().shape) if _latent(model) else 1
    widest = max(latent, model.spec.channels * prod(min(side, SIDE) for side in model.spec.space))
    return min(size, most, max(LEAST, VALUES // widest))


@torch.inference_mode()
def look_up(
    model: Model,
    samples: Looks,
    training: Dataset,
    heldout: Dataset,
    *,
    most: int = MOST,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Copies]:
    """Copies by space, "pixels" and, where the codec has one, "latents"; `nearest.index` counts in the training data set.

    training: what the model has learnt from, LEAST pictures or more.   heldout: what it has not; `most` bounds both.
    report: called with the number of pictures of both that are read so far, `searched` of the one and HELDOUT of the other.
    """
    places = spread(len(training), searched(model, len(training), most))
    raw, learnt = _read(model, training, places, report)
    _, unseen = _read(model, heldout, spread(len(heldout), min(HELDOUT, most)), lambda n: report(len(places) + n))
    controls = torch.from_numpy(spread(len(places), CONTROLS))
    found = {"pixels": _in_pixels(samples.pixels, raw, learnt.pixels, unseen.pixels, controls)}
    if samples.latents is not None and learnt.latents is not None and unseen.latents is not None:
        find = partial(nearest, training=learnt.latents)
        rows = (learnt.latents[controls], unseen.latents, samples.latents)
        found["latents"] = copies(find(rows[0], own=controls), find(rows[1]), find(rows[2]))
    return {name: _counted_in(each, torch.from_numpy(places)) for name, each in found.items()}


def _in_pixels(samples: Tensor, raw: Tensor, learnt: Tensor, unseen: Tensor, controls: Tensor) -> Copies:
    """Pictures (N, C, h, w), and positions of those whose nearest other one is looked up."""

    mirrored = learnt.flip(-1)
    every = (learnt, mirrored, raw, raw.flip(-1))

    def forms(places: Tensor) -> Iterator[Tensor]:
        shown = (view for pictures in every for view in views(pictures[places].flatten(0, 1)))
        return (view.flatten(1).unflatten(0, places.shape) for view in shown)

    find = partial(nearest, training=(learnt.flatten(1), mirrored.flatten(1)), forms=forms)
    rows = (learnt[controls].flatten(1), unseen.flatten(1), samples.flatten(1))
    return copies(find(rows[0], own=controls), find(rows[1]), find(rows[2]))


def views(x: Tensor) -> Iterator[Tensor]:
    """Pictures (N, C, h, w) as they are, moved by a pixel with edges repeated, and turned by a few degrees either way."""
    height, width = x.shape[2:]
    wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
    yield x
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        yield wide[:, :, down : down + height, right : right + width]
    for angle in (TURN, -TURN):
        sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
        turn = x.new_tensor([[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]])
        where = F.affine_grid(turn.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        yield F.grid_sample(x, where, padding_mode="border", align_corners=False)


def _read(model: Model, data: Dataset, places: Positions, report: Callable[[int], None]) -> tuple[Tensor, Looks]:
    """Pictures of a data set, raw (N, C, h, w) and as the codec gives them back."""
    raw, after, done = [], [], 0
    for first in range(0, len(places), BLOCK):
        x = model.read(unit(data.readable(places[first : first + BLOCK])[0]))
        raw.append(_small(x).cpu())
        after.append(looks(model, given_back(model, x)))
        done += len(x)
        report(done)
    return torch.cat(raw), joined(after)


def _small(x: Tensor) -> Tensor:
    """Pictures (N, C, H, W) averaged to sides of at most SIDE."""
    space = (min(x.shape[2], SIDE), min(x.shape[3], SIDE))
    return x.float() if space == tuple(x.shape[2:]) else F.adaptive_avg_pool2d(x.float(), space)


def _lossy(model: Model) -> bool:
    """Whether the codec reads pictures and gives other ones back."""
    return model.codec.encoder is not None and (model.codec.learns or model.codec.bottleneck.size > 0)


def _latent(model: Model) -> bool:
    """Whether it has a space of its own for latents, which are the pictures themselves where nothing was learnt."""
    return model.codec.encoder is not None and model.codec.learns


def _counted_in(found: Copies, places: Tensor) -> Copies:
    return replace(found, nearest=replace(found.nearest, index=places[found.nearest.index]))
