"""What training shows of itself: originals over reconstructions, and samples, as pictures in the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vitrail.codecs.codec import Codec
from vitrail.data.dataset import Dataset
from vitrail.data.modalities import image
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe
from vitrail.priors._prior import Prior
from vitrail.training.codec_step import CodecStep
from vitrail.training.generator_step import GeneratorStep
from vitrail.training.prior_step import PriorStep

PICTURES = 16  # originals shown
COLUMNS = 8  # of originals and reconstructions
SAMPLES = 36
LEAST = 56  # pixels; smaller pictures are enlarged


def reconstructions(recipe: Recipe, data: Dataset, module: nn.Module, path: Path) -> None:
    """Rows of originals, each over its reconstruction."""
    assert isinstance(module, CodecStep)
    x = image.as_tensor(chosen(data)[0])
    save(pairs(x, Model(recipe, data.spec, module.codec, None).reconstruct(x).cpu()), path, COLUMNS)


def samples(recipe: Recipe, data: Dataset, codec: Codec, module: nn.Module, path: Path) -> None:
    """A square of samples with the numbers 0, 1, 2, ... of the run's seed, the same noise every time.

    Where the prior is given hints or captions: rows of pictures of the data set, degraded or not, each over a sample.
    """
    prior = module.prior if isinstance(module, PriorStep) else module
    assert isinstance(prior, Prior)
    model, seed = Model(recipe, data.spec, codec, prior), recipe.training.seed
    if not (prior.conditional or prior.captions):
        save(model.sample(SAMPLES, seed=seed).cpu(), path)
        return
    pixels, index = chosen(data)
    given: dict[str, Any]
    if prior.conditional:
        above = model.hint(pixels, seed)
        given = {"condition": above}
    else:
        above, given = image.as_tensor(pixels), {"prompt": [data.captions[i] for i in index]}
    save(pairs(above.cpu(), model.sample(len(above), seed=seed, **given).cpu()), path, COLUMNS)


def generated(recipe: Recipe, data: Dataset, prior: Prior, module: nn.Module, path: Path) -> None:
    """`samples` of a generator under training."""
    assert isinstance(module, GeneratorStep)
    samples(recipe, data, module.codec, prior, path)


def chosen(data: Dataset) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """(B, C, H, W) uint8 and their positions: spread evenly over a data set; another stands in for one that cannot be read."""
    pixels, index = data.readable(np.unique(np.linspace(0, len(data) - 1, PICTURES).astype(np.int64)))
    return torch.from_numpy(pixels), index


def pairs(x: Tensor, x_hat: Tensor) -> Tensor:
    """Originals and reconstructions (B, C, H, W) in rows of COLUMNS that alternate."""
    rows = [row for a, b in zip(x.split(COLUMNS), x_hat.split(COLUMNS), strict=True) for row in (a, b)]
    return torch.cat(rows)


def save(pictures: Tensor, path: Path, columns: int | None = None) -> None:
    """Write a grid whose pictures are large enough to see."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_grid(path, pictures, columns, least=LEAST)
