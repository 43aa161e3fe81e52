"""The training pictures that samples are nearest to, and whether they are copies: in pixels, and in the codec's latent space.

A codec leaves something out, so a sample never is a training picture to the last value, and everything it decodes is alike in
what it lacks. So samples are compared with training pictures as the codec gives them back. These count in other forms too: raw,
mirrored, and turned, zoomed and moved a little; and where training saw changed pictures, chance is judged by such.
Held-out pictures are compared raw with raw training pictures: a codec that has learnt by heart makes training pictures of unseen
ones, which says nothing of how alike they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.data.augmentation import augmented, augments
from vitrail.data.dataset import Dataset
from vitrail.data.loader import Positions, unit
from vitrail.metrics.alignment import aligned
from vitrail.metrics.copies import LEAST, Copies, Nearest, copies, nearest
from vitrail.model.model import Model

BLOCK = 256  # pictures in memory at a time, at full size
SIDE = 32  # pixels; larger pictures are averaged down before they are compared
VALUES = 1 << 25  # of all training pictures in one space: 128 MiB
MOST = 20_000  # training pictures searched; of more, so many evenly spaced ones
CONTROLS = 500  # training pictures whose nearest other one is looked up, evenly spaced
HELDOUT = 500  # held-out pictures


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
    unseen: int = HELDOUT,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Copies]:
    """Copies by space, "pixels" and, where the codec has one, "latents"; `nearest.index` counts in the training data set.

    training: what the model has learnt from, LEAST pictures or more, of which `most` are searched.   heldout: what it has not,
    of which `unseen` are looked at.   report: called with the number of pictures of both that are read so far.
    """
    places = spread(len(training), searched(model, len(training), most))
    raw, learnt = _read(model, training, places, report)
    others, _ = _read(model, heldout, spread(len(heldout), unseen), lambda n: report(len(places) + n), back=False)
    controls = torch.from_numpy(spread(len(places), CONTROLS))
    changed = _changed(model, training, places[controls.numpy()]) if augments(model.recipe.data) else None
    own = Looks(learnt.pixels[controls], None if learnt.latents is None else learnt.latents[controls])
    plain = _nearest_to(raw)
    judged = partial(copies, heldout=plain(others.flatten(1)), raw=plain(raw[controls].flatten(1), own=controls))
    find, own = _nearest_to(learnt.pixels, raw), changed or own
    found = {"pixels": judged(find(own.pixels.flatten(1), own=controls), samples=find(samples.pixels.flatten(1)))}
    if samples.latents is not None and learnt.latents is not None and own.latents is not None:
        find = partial(nearest, training=learnt.latents)
        found["latents"] = judged(find(own.latents, own=controls), samples=find(samples.latents))
    return {name: _counted_in(each, torch.from_numpy(places)) for name, each in found.items()}


def _nearest_to(pictures: Tensor, raw: Tensor | None = None) -> Callable[..., Nearest]:
    """`nearest` among pictures (M, C, h, w), mirrored ones too, each aligned; raw: further forms of them."""
    forms = (pictures, pictures.flip(-1))

    def refine(values: Tensor, places: Tensor) -> Tensor:
        x = values.unflatten(1, pictures.shape[1:])
        plain, mirrored = (form[places] for form in forms)  # (B, K, C, h, w)
        nearer = _apart(x, plain) <= _apart(x, mirrored)
        found = aligned(x, torch.where(nearer[..., None, None, None], plain, mirrored))
        return found if raw is None else torch.minimum(found, _apart(x, raw[places]))

    return partial(nearest, training=(forms[0].flatten(1), forms[1].flatten(1)), refine=refine)


def _apart(x: Tensor, others: Tensor) -> Tensor:
    """(B, C, h, w), (B, K, C, h, w) -> distances (B, K)."""
    return (others - x[:, None]).flatten(2).norm(dim=2)


def _changed(model: Model, data: Dataset, places: Positions) -> Looks:
    """Training pictures, changed at random as in training."""
    parts = []
    for first in range(0, len(places), BLOCK):
        pixels, index = data.readable(places[first : first + BLOCK])
        pixels = augmented(pixels, model.recipe.data, model.recipe.training.seed, index, np.zeros_like(index))
        parts.append(looks(model, given_back(model, model.read(unit(np.ascontiguousarray(pixels))))))
    return joined(parts)


def _read(
    model: Model, data: Dataset, places: Positions, report: Callable[[int], None], back: bool = True
) -> tuple[Tensor, Looks]:
    """Pictures of a data set, raw (N, C, h, w) and, unless this is not wanted, as the codec gives them back."""
    raw, after, done = [], [], 0
    for first in range(0, len(places), BLOCK):
        x = model.read(unit(data.readable(places[first : first + BLOCK])[0]))
        raw.append(_small(x).cpu())
        if back:
            after.append(looks(model, given_back(model, x)))
        done += len(x)
        report(done)
    return torch.cat(raw), joined(after) if back else Looks(torch.cat(raw), None)


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
