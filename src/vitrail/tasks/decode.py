"""Pictures from latents: the inverse of `encode`, as far as there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field
from torch import Tensor

from vitrail.tasks._parameters import Latents, Run, Side, sides


@dataclass(frozen=True)
class Decoded:
    """Pictures made from latents."""

    pictures: Tensor  # (B, C, H, W) in [0, 1]


def decode(
    model: Run,
    latents: Latents,
    *,
    space: Annotated[
        tuple[Side, Side] | None,
        BeforeValidator(sides),
        Field(
            description="height and width that the pictures are cut to, as 480x640; default: those of the encoded ones"
        ),
    ] = None,
) -> Decoded:
    """Decode codes (B, Q, h, w) of integers or values (B, D, h, w) of floats. Raises DataError where they do not fit."""
    return Decoded(model.decode(latents, space))
