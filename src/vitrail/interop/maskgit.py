"""MaskGIT's VQ autoencoder as open-muse and 1d-tokenizer (TiTok) keep it: read only.

Names are those of networks/autoencoder/maskgit.py, so only two are changed: the encoder's last convolution is the linear map of the
bottleneck here. Sizes are read off the weights.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from vitrail.errors import ModelError
from vitrail.interop._foreign import Foreign
from vitrail.interop._keys import Table, Weights
from vitrail.interop._ldm import bottleneck_of, model_of, size_of
from vitrail.model.model import Model
from vitrail.networks.autoencoder import maskgit

TABLE: Table = (
    (r"^bottleneck\.project\.", "encoder.conv_out."),
    (r"^bottleneck\.book\.embedding$", "quantize.embedding.weight"),
)


def recognises(foreign: Foreign) -> bool:
    """Whether names of weights are MaskGIT's: convolutions without bias, and a middle without attention that has no names."""
    names = foreign.tensors.keys()
    return {"encoder.mid.0.conv1.weight", "encoder.down.0.block.0.conv1.weight"} <= names and (
        "encoder.conv_in.bias" not in names
    )


def read(foreign: Foreign, size: tuple[int, int] | None = None) -> Model:
    """The autoencoder in a checkpoint, made for pictures of `size` (H, W). Raises ModelError that names what does not fit."""
    held = Weights(foreign.path, foreign.tensors, TABLE)
    held.side("bottleneck.book.embedding", 1)
    network: Any = _network(held)
    return model_of(held, network, bottleneck_of(held), size_of(size, foreign.settings.get("resolution")))


def _network(held: Weights) -> maskgit.Config:
    """Depth and widths, from the names and shapes of the encoder."""
    levels, blocks = (held.count(f"encoder.down.{name}.conv1.weight") for name in ("{}.block.0", "0.block.{}"))
    widths = [held.side(f"encoder.down.{level}.block.0.conv1.weight") for level in range(levels)]
    try:
        return maskgit.Config(widths=tuple(widths), blocks=blocks)
    except ValidationError as error:
        raise ModelError(f"{held.path}: network: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
