"""The VQ autoencoders of LlamaGen: read only.

Codes and vectors are compared on the unit sphere there, on one of radius sqrt(C) here (bottlenecks/vq.py, `sphere`): so z is
sqrt(C) times as long here, and the convolution that reads it is divided by as much. `quantize.codebook_used`, a list of codes that
were lately in use, is left out. Group norms have 32 groups.
Source: Sun et al. 2024, "Autoregressive model beats diffusion: Llama for scalable image generation", section 2.1.
"""

from __future__ import annotations

import torch.nn.functional as F

from vitrail.errors import ModelError
from vitrail.interop._foreign import Foreign
from vitrail.interop._keys import Table, Tensors, Weights
from vitrail.interop._ldm import bottleneck_of, model_of, network_of, size_of
from vitrail.interop.taming import BLOCKS
from vitrail.model.model import Model

EMBEDDING, READER, IN_USE = "quantize.embedding.weight", "post_quant_conv.weight", "quantize.codebook_used"
TABLE: Table = (
    (r"^bottleneck\.project\.", "quant_conv."),
    (r"^bottleneck\.book\.embedding$", EMBEDDING),
    (r"^decoder\.post_quant_conv\.", "post_quant_conv."),
    (r"^(encoder|decoder)\.(down|up)_blocks\.", r"\1.conv_blocks."),
    (r"\.mid_block\.resnets\.(\d+)\.", lambda match: f".mid.{2 * int(match[1])}."),
    (r"\.mid_block\.attentions\.0\.", ".mid.1."),
    (r"\.resnets\.", ".res."),
    *BLOCKS,
)


def recognises(foreign: Foreign) -> bool:
    """Whether names of weights are LlamaGen's."""
    return "encoder.conv_blocks.0.res.0.conv1.weight" in foreign.tensors


def read(foreign: Foreign, size: tuple[int, int] | None = None) -> Model:
    """The autoencoder in a checkpoint, made for pictures of `size` (H, W). Raises ModelError that names what does not fit."""
    held = Weights(foreign.path, foreign.tensors, TABLE)
    if EMBEDDING not in foreign.tensors:
        raise ModelError(f"{foreign.path}: weight '{EMBEDDING}' is missing")
    network, bottleneck = network_of(held), bottleneck_of(held, sphere=True)
    weights = Weights(foreign.path, _on_our_sphere(foreign.tensors), TABLE)
    return model_of(weights, network, bottleneck, size_of(size, None))


def _on_our_sphere(tensors: Tensors) -> Tensors:
    """Codes of length sqrt(C) instead of 1, and a reader that undoes it."""
    radius = tensors[EMBEDDING].shape[1] ** 0.5
    changed = {EMBEDDING: F.normalize(tensors[EMBEDDING].double(), dim=1) * radius}
    if READER in tensors:
        changed[READER] = tensors[READER].double() / radius
    return {name: changed.get(name, tensor) for name, tensor in tensors.items() if name != IN_USE}
