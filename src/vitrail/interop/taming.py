"""Checkpoints of taming-transformers (VQGAN) and latent-diffusion (VQ and KL autoencoders): read only.

Everything is told by names and shapes of the weights; a .yaml beside them adds the resolution and the scale of the latents.
Left out on purpose, by these rules alone:
    loss.*              discriminator, perceptual net and the learnt variance: they judge, they do not code
    model_ema.*         running averages of the same weights, which both libraries leave aside when they load a first stage;
                        where a pickled file has them, `vitrail import --ema` takes them in place of the weights
    all but first_stage_model.*, where there are such: a whole diffusion model, of which only the autoencoder is wanted
Both libraries know no other group norm than one of 32 groups. Not told by names, hence not noticed without the .yaml: a tanh after
the decoder (`tanh_out`), and IBQ's lookup by dot products.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vitrail.errors import ModelError
from vitrail.interop._foreign import Foreign
from vitrail.interop._keys import Table, Tensors, Weights
from vitrail.interop._ldm import bottleneck_of, model_of, network_of, normalise, size_of
from vitrail.model.model import Model

FIRST_STAGE = "first_stage_model."
ASIDE = ("loss.", "model_ema.")


def recognises(foreign: Foreign) -> bool:
    """Whether names of weights are those of this family."""
    return any(name.removeprefix(FIRST_STAGE) == "encoder.mid.block_1.conv1.weight" for name in foreign.tensors)


def read(foreign: Foreign, size: tuple[int, int] | None = None) -> Model:
    """The autoencoder in a checkpoint, made for pictures of `size` (H, W). Raises ModelError that names what does not fit."""
    settings = _stage(foreign.settings)
    _refuse(foreign, settings)
    held = _autoencoder(foreign.tensors)
    levels = Weights(foreign.path, held, table(0)).count("encoder.down_blocks.{}.")
    weights = Weights(foreign.path, held, table(levels))
    resolution = _at(settings, "params", "ddconfig", "resolution")
    model = model_of(weights, network_of(weights), bottleneck_of(weights), size_of(size, resolution))
    normalise(model, torch.zeros(()), 1 / _scale(foreign))
    return model


def table(levels: int) -> Table:
    """Names of networks/autoencoder/ldm.py -> theirs, where the decoder's levels too are counted from the finest."""

    def finest_first(match: re.Match[str]) -> str:
        return f"decoder.up.{levels - 1 - int(match[1])}."

    return (
        (r"^bottleneck\.project\.", "quant_conv."),
        (r"^bottleneck\.book\.embedding$", "quantize.embedding.weight"),
        (r"^decoder\.post_quant_conv\.", "post_quant_conv."),
        (r"^encoder\.down_blocks\.", "encoder.down."),
        (r"^decoder\.up_blocks\.(\d+)\.", finest_first),
        (r"\.mid_block\.resnets\.(\d+)\.", lambda match: f".mid.block_{int(match[1]) + 1}."),
        (r"\.mid_block\.attentions\.0\.", ".mid.attn_1."),
        (r"\.resnets\.", ".block."),
        *BLOCKS,
    )


# What the names inside of a level have in common with LlamaGen's.
BLOCKS: Table = (
    (r"\.attentions\.", ".attn."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_out\.", ".proj_out."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.(down|up)samplers\.0\.", r".\1sample."),
    (r"\.conv_norm_out\.", ".norm_out."),
)


def _autoencoder(tensors: Tensors) -> Tensors:
    """The weights of the autoencoder, by the rules above."""
    whole = any(name.startswith(FIRST_STAGE) for name in tensors)
    stage = {n.removeprefix(FIRST_STAGE): t for n, t in tensors.items() if not whole or n.startswith(FIRST_STAGE)}
    return {name: tensor for name, tensor in stage.items() if not name.startswith(ASIDE)}


def _scale(foreign: Foreign) -> Tensor:
    """What a diffusion model multiplies latents by: a buffer of the whole model, or in its settings; else 1."""
    scale = foreign.tensors.get("scale_factor", _at(foreign.settings, "model", "params", "scale_factor"))
    if scale is None:
        return torch.ones(())
    if not isinstance(scale, int | float | Tensor) or (isinstance(scale, Tensor) and scale.numel() != 1):
        raise ModelError(f"{foreign.path}: scale_factor is of type {type(scale).__name__}, wanted a number")
    number = float(scale)
    if not (math.isfinite(number) and number > 0):
        raise ModelError(f"{foreign.path}: scale_factor is {number}, wanted a number above 0")
    return torch.tensor(number)


def _stage(settings: Mapping[str, Any]) -> Any:
    """Of a .yaml, what is told of the autoencoder: `model`, or inside a diffusion model its first stage."""
    inner = _at(settings, "model", "params", "first_stage_config")
    return _at(settings, "model") if inner is None else inner


def _refuse(foreign: Foreign, stage: Any) -> None:
    """Raise ModelError on what is of the family but computes something else."""
    if _at(stage, "params", "ddconfig", "tanh_out"):
        raise ModelError(f"{foreign.path}: ddconfig.tanh_out, a tanh after the decoder, is not supported")
    if any(name.removeprefix(FIRST_STAGE) == "quantize.embed.weight" for name in foreign.tensors):
        raise ModelError(
            f"{foreign.path}: quantize.embed.weight: codes of a Gumbel-softmax are not supported, only nearest ones"
        )
    target = _at(stage, "target")
    if isinstance(target, str) and "IBQ" in target:
        raise ModelError(f"{foreign.path}: {target} looks codes up by dot products, which is not supported")


def _at(tree: Any, *keys: str) -> Any:
    """A value deep inside nested mappings; None where there is none."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree
