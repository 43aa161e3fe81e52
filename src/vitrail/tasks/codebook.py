"""How a codebook is used over a set of pictures, and what each of its codes decodes to."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from vitrail.codecs.codebook import CodebookReport, report
from vitrail.data.loader import in_order
from vitrail.data.source import silent
from vitrail.errors import UsageError
from vitrail.tasks._parameters import Data, Reported, Run
from vitrail.tasks.evaluate import check_kind

BLOCK = 256  # pictures in memory at a time


@torch.inference_mode()
def codebook(
    model: Run,
    data: Data,
    *,
    most: Annotated[int, Field(ge=1, le=4096, description="codes shown of each level, the most used first")] = 256,
    limit: Annotated[int | None, Field(ge=1, description="judge by at most so many pictures; default: all")] = None,
    progress: Reported = silent,
) -> CodebookReport:
    """Count codes over the pictures, and average what is decoded where each of them stands.

    Raises UsageError for a model without codes, DataError where the data is of another kind than the model's.
    """
    if not model.codec.bottleneck.size:
        raise UsageError(
            f"this model has no codebook: its bottleneck is {model.recipe.bottleneck.part()}, whose latents are continuous"
        )
    check_kind(model, data)
    wanted = min(len(data), limit or len(data))
    kept, done = [], 0
    for batch in in_order(data, min(BLOCK, wanted)):
        codes = model.encode(batch.x[: wanted - done]).codes
        assert codes is not None
        kept.append(codes.int())
        done += len(codes)
        progress(done, wanted)
        if done == wanted:
            break
    return report(model.codec, torch.cat(kept), most)
