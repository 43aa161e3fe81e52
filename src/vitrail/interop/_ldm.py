"""From the weights of a VQGAN or latent diffusion autoencoder to a Model: what all formats of that family share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from vitrail.bottlenecks import gaussian, vq
from vitrail.bottlenecks.vq import VectorQuantizer
from vitrail.codecs.codec import Codec
from vitrail.errors import ModelError, UsageError
from vitrail.interop._keys import Tensors, Weights
from vitrail.model.build import build_codec
from vitrail.model.model import Model
from vitrail.model.recipe import Recipe
from vitrail.networks.autoencoder import ldm
from vitrail.objectives.reconstruction import mse
from vitrail.types import Config, DataSpec

SIZE = (256, 256)  # what a model is said to be made for, where nothing says so
LEARNT = 100_000  # steps that an imported codebook is said to have learnt, so that training on does not start it anew
KL = 1e-6  # weight of the divergence in latent diffusion, which sums both terms over all values (Rombach et al. 2022, appendix G)
EMBEDDING = "bottleneck.book.embedding"
# Not in foreign files: statistics of latents and of codes, what only judges the data, and the scale of a learnt prior.
OWN = ("mean", "std", "bottleneck.book.", "bottleneck.log_scale", "likelihood.")


def network_of(weights: Weights) -> ldm.Config:
    """The network that weights belong to, from their names and shapes. Raises ModelError where none would have them."""
    levels = weights.count("encoder.down_blocks.{}.")
    if not levels:
        raise ModelError(f"{weights.path}: holds no level of an encoder")
    widths = tuple(weights.side(f"encoder.down_blocks.{i}.resnets.0.conv1.weight") for i in range(levels))
    up = {i: f"decoder.up_blocks.{levels - 1 - i}" for i in range(levels)}
    channels, out = weights.side("decoder.post_quant_conv.weight"), weights.side("encoder.conv_out.weight")
    if out not in (channels, 2 * channels):
        raise ModelError(
            f"{weights.path}: the encoder puts out {out} channels, the decoder begins with {channels}: wants as many, or half"
        )
    fields = {
        "widths": widths,
        "blocks": weights.count("encoder.down_blocks.0.resnets.{}."),
        "attention": [i for i in up if weights.holds(f"encoder.down_blocks.{i}.attentions.")],
        "decoder_attention": [i for i, name in up.items() if weights.holds(f"{name}.attentions.")],
        "middle_attention": any(weights.holds(f"{side}.mid_block.attentions.0.") for side in ("encoder", "decoder")),
        "channels": channels,
        "double": out == 2 * channels,
        "stem": weights.side("encoder.conv_in.weight"),
    }
    return network(weights, fields)


def network(weights: Weights, fields: Mapping[str, Any]) -> ldm.Config:
    """The settings of a network, checked; those that say no more than their default are left open."""
    tidy = dict(fields)
    if tidy.get("stem") == tidy["widths"][0]:
        del tidy["stem"]
    if "decoder_attention" in tidy and list(tidy["decoder_attention"]) == list(tidy["attention"]):
        del tidy["decoder_attention"]
    try:
        return ldm.Config.model_validate(tidy)
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"]))
        raise ModelError(
            f"{weights.path}: {place or 'network'}: {found['msg'].removeprefix('Value error, ')}"
        ) from None


def bottleneck_of(weights: Weights, sphere: bool = False) -> Config:
    """The bottleneck that weights belong to: codes where there is a codebook, else a Gaussian posterior."""
    if EMBEDDING in weights:
        return vq_config(max(1, weights.side(EMBEDDING)), max(1, weights.side(EMBEDDING, 1)), sphere)
    return gaussian.Config(channels=max(1, weights.side("bottleneck.project.weight") // 2))


def vq_config(size: int, channels: int, sphere: bool = False) -> vq.Config:
    """Codes that learn as they did there, by gradient; none is moved, since all of them may mean something."""
    return vq.Config(size=size, channels=channels, sphere=sphere, codebook="gradient", revive=0.0)


def size_of(size: tuple[int, int] | None, told: Any) -> tuple[int, int]:
    """The size asked for, else the one that settings tell (a side or two), else SIZE."""
    if size is not None:
        return size
    if isinstance(told, int) and told > 0:
        return told, told
    if isinstance(told, list | tuple) and len(told) == 2 and all(isinstance(side, int) and side > 0 for side in told):
        return told[0], told[1]
    return SIZE


def model_of(weights: Weights, network: Config, bottleneck: Config, size: tuple[int, int]) -> Model:
    """A Model with these weights: all that it wants and no others. Also for other networks whose ends are named alike.

    Shapes are compared before anything is allocated. Raises ModelError that names what does not fit.
    """
    channels, outputs = weights.side("encoder.conv_in.weight", 1), weights.side("decoder.conv_out.weight")
    if channels != outputs:
        raise ModelError(f"{weights.path}: reads {channels} channels but writes {outputs}; wants as many")
    quantized = isinstance(bottleneck, vq.Config)
    recipe = Recipe(
        name="imported",
        network=network,
        bottleneck=bottleneck,
        reconstruction=mse.Config(),
        prior=None,
        weights={"commitment": 0.25} if quantized else {"kl": KL},
    )
    try:
        spec = DataSpec(shape=(channels, *size))
        with torch.device("meta"):
            wanted = foreign_part(build_codec(recipe, spec))
        found = weights.taken(wanted)
        codec = build_codec(recipe, spec)
    except (UsageError, ValidationError, RuntimeError) as error:
        raise ModelError(f"{weights.path}: this model cannot be built: {str(error).splitlines()[0]}") from None
    codec.load_state_dict(found, strict=False)
    if quantized:
        settle(codec, found[EMBEDDING])
    return Model(recipe, spec, codec, None)


def foreign_part(codec: Codec) -> Tensors:
    """Of a codec's weights, by our names, those that files of this family hold."""
    every = codec.state_dict()
    return {name: tensor for name, tensor in every.items() if name == EMBEDDING or not name.startswith(OWN)}


@torch.no_grad()
def settle(codec: Codec, embedding: Tensor) -> None:
    """Put codes in place as if they had long been learnt: training on neither starts them by k-means nor takes them for dead."""
    assert isinstance(codec.bottleneck, VectorQuantizer)
    book = codec.bottleneck.book
    book.put(torch.arange(book.size), embedding, torch.ones(book.size))
    book.steps.fill_(LEARNT)


@torch.no_grad()
def normalise(model: Model, mean: Tensor, std: Tensor) -> None:
    """Let the model hand out latents as (z - mean) / std; either (C,) or a scalar. Raises ModelError on what is no scale."""
    if not bool(torch.isfinite(mean).all() & torch.isfinite(std).all() & (std > 0).all()):
        raise ModelError("statistics of the latent must be finite, its scale above 0")
    model.codec.mean.copy_(mean)
    model.codec.std.copy_(std)
