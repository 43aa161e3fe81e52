"""What the prior is given beside noise when samples are drawn to be judged: hints and captions of a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vitrail.data.dataset import Dataset
from vitrail.model.model import Model


def given(model: Model, data: Dataset, first: int, n: int, seed: int) -> dict[str, Any]:
    """What `sample` is told for the samples with these numbers: degraded pictures of the data, its captions, or nothing."""
    where = np.arange(first, first + n) % len(data)
    if model.prior is not None and model.prior.conditional:
        return {"condition": model.hint(torch.from_numpy(data.readable(where)[0]), seed, first)}
    if model.prior is not None and model.prior.captions and data.captions:
        return {"prompt": [data.captions[i] for i in where]}
    return {}
