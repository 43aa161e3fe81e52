"""Folders of diffusers, as its `save_pretrained` writes them: AutoencoderKL and VQModel, read and written; denoisers, written.

    config.json · diffusion_pytorch_model.safetensors · of a whole pipeline, those in its folder `vae/` or `vqvae/`

diffusers itself is not needed. Its pipelines scale latents as (z - shift) * scaling_factor or (z - latents_mean) * scaling_factor /
latents_std, its models do not: here that is what `encode` gives. What is read as one thing and written as another, all to the same
effect: a missing quant_conv as an identity, `sphere` codes as plain ones (of one length, they win where they did), `simvq` codes as
plain ones, and a `learned` prior not at all.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from vitrail import durable
from vitrail.bottlenecks import gaussian, vq
from vitrail.errors import ModelError, UsageError
from vitrail.interop._diffusers_config import (
    CLASSES,
    DOWN,
    DOWN_ATTENTION,
    KL,
    UP,
    UP_ATTENTION,
    VQ,
    Settings,
)
from vitrail.interop._diffusers_prior import WEIGHTS, Files
from vitrail.interop._diffusers_prior import files as prior_files
from vitrail.interop._foreign import Foreign
from vitrail.interop._keys import Table, Weights, theirs
from vitrail.interop._ldm import EMBEDDING, foreign_part, model_of, network, normalise, size_of, vq_config
from vitrail.model.model import Model
from vitrail.networks.autoencoder import ldm
from vitrail.objectives.reconstruction._likelihood import to_data
from vitrail.priors._continuous import Continuous
from vitrail.types import Config

# Names of networks/autoencoder/ldm.py -> theirs.
TABLE: Table = (
    (r"^bottleneck\.project\.", "quant_conv."),
    (r"^bottleneck\.book\.embedding$", "quantize.embedding.weight"),
    (r"^decoder\.post_quant_conv\.", "post_quant_conv."),
    (r"\.to_out\.", ".to_out.0."),
)
# Attention as files of older versions of diffusers name it.
OLD_TABLE: Table = (
    *TABLE[:-1],
    (r"\.to_out\.", ".proj_attn."),
    (r"\.to_q\.", ".query."),
    (r"\.to_k\.", ".key."),
    (r"\.to_v\.", ".value."),
)


def recognises(foreign: Foreign) -> bool:
    """Whether config.json says that diffusers wrote it, or names of weights are diffusers'."""
    return "_class_name" in foreign.settings or "encoder.down_blocks.0.resnets.0.conv1.weight" in foreign.tensors


def read(foreign: Foreign, size: tuple[int, int] | None = None) -> Model:
    """The autoencoder in a folder, made for pictures of `size` (H, W). Raises ModelError that names what does not fit."""
    settings = _settings(foreign)
    old = any(".attentions.0.query." in name for name in foreign.tensors)
    weights = Weights(foreign.path, foreign.tensors, OLD_TABLE if old else TABLE)
    if isinstance(settings, KL):
        weights = replace(weights, tensors={**weights.tensors, **_identities(settings, weights)})
    made = network(weights, settings.network())
    _check_channels(settings, weights)
    model = model_of(weights, made, _bottleneck(settings), size_of(size, settings.sample_size))
    mean, std = settings.statistics()
    if mean.numel() not in (1, len(model.codec.mean)) or std.numel() not in (1, len(model.codec.std)):
        raise ModelError(f"{foreign.path}: latents_mean and latents_std want one value per latent channel")
    normalise(model, mean, std)
    return model


def _settings(foreign: Foreign) -> Settings:
    """config.json, checked."""
    named = foreign.settings.get("_class_name")
    if not foreign.settings:
        raise ModelError(
            f"{foreign.path}: wants the config.json that diffusers writes beside the weights; there is none"
        )
    if not isinstance(named, str) or named not in CLASSES:
        raise ModelError(f"{foreign.path}: config.json is of {named!r}; wants one of {', '.join(CLASSES)}")
    told = {key: value for key, value in foreign.settings.items() if not key.startswith("_")}
    try:
        return CLASSES[named].model_validate(told)
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"])) or named
        message = "not supported" if found["type"] == "extra_forbidden" else found["msg"].removeprefix("Value error, ")
        got = "" if found["type"] == "value_error" else f", got {found['input']!r}"
        raise ModelError(f"{foreign.path}: config.json: {place}: {message}{got}") from None


def _check_channels(settings: Settings, weights: Weights) -> None:
    """Raise ModelError where config.json and weights differ in the channels of pictures, which are taken from the weights."""
    sides = {"in_channels": ("encoder.conv_in.weight", 1), "out_channels": ("decoder.conv_out.weight", 0)}
    for key, (name, axis) in sides.items():
        told, found = getattr(settings, key), weights.side(name, axis)
        if told != found:
            raise ModelError(f"{weights.path}: config.json: {key} is {told}, but the weights have {found}")


def _bottleneck(settings: Settings) -> Config:
    """The bottleneck that config.json tells of."""
    if isinstance(settings, VQ):
        channels = settings.vq_embed_dim or settings.latent_channels
        return vq_config(settings.num_vq_embeddings, channels)
    return gaussian.Config(channels=settings.latent_channels)


def _identities(settings: KL, weights: Weights) -> dict[str, Tensor]:
    """The 1x1 convolutions that a model does without, as ones that change nothing. Raises ModelError where they are there."""
    sides = {
        "quant_conv": weights.side("encoder.conv_out.weight"),
        "post_quant_conv": weights.side("decoder.conv_in.weight", 1),
    }
    made: dict[str, Tensor] = {}
    for name in sides:
        if getattr(settings, f"use_{name}"):
            continue
        if f"{name}.weight" in weights.tensors:
            raise ModelError(f"{weights.path}: config.json says use_{name}=false, but weight '{name}.weight' is there")
        made |= {f"{name}.weight": torch.eye(sides[name]), f"{name}.bias": torch.zeros(sides[name])}
    return made


def write(model: Model, path: Path) -> list[Path]:
    """A new folder that `AutoencoderKL.from_pretrained` or `VQModel.from_pretrained` reads. Returns its files.

    Where the prior is a denoiser, that of a pipeline: denoiser, scheduler, and the codec beside them where there is a class for it.
    Raises UsageError where the model is none of these, or where there is such a folder.
    """
    contents = _files(model)
    files = [path / name for name in contents]
    if there := [file for file in files if file.exists()] or ([path] if path.is_file() else []):
        raise UsageError(f"'{there[0]}' is there already; name a new folder")
    for file, content in zip(files, contents.values(), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        durable.write_file(file, content, through=True)
    return files


def _files(model: Model) -> Files:
    """Contents of all files, by their paths in the folder. Raises UsageError."""
    if not isinstance(model.prior, Continuous):
        return _codec(model)
    if not isinstance(model.recipe.network, ldm.Config):
        return prior_files(model, model.prior, {})
    folder = "vqvae" if isinstance(model.recipe.bottleneck, vq.Config) else "vae"
    return prior_files(model, model.prior, {f"{folder}/{name}": content for name, content in _codec(model).items()})


def _codec(model: Model) -> Files:
    """The files of the codec. Raises UsageError."""
    config, tensors = _config(model), _tensors(model)
    return {
        WEIGHTS: safetensors.torch.save(tensors, {"format": "pt"}),
        "config.json": (json.dumps(config, indent=2) + "\n").encode(),
    }


def _config(model: Model) -> dict[str, Any]:
    """config.json. Raises UsageError for what diffusers has no class for, and says why."""
    made, squeeze, likelihood = model.recipe.network, model.recipe.bottleneck, model.codec.likelihood
    if not isinstance(made, ldm.Config):
        raise UsageError(
            f"diffusers has no class for network={made.part()}, only for network=ldm; export to ONNX instead"
        )
    made = made.fitted(model.spec)
    probe = torch.linspace(-2, 2, 9, device=model.device).expand(1, likelihood.outputs, 1, 9)
    if likelihood.outputs != model.spec.channels or not torch.equal(likelihood.centre(probe), to_data(probe)):
        raise UsageError(
            f"decoders of diffusers put out pixels, that of reconstruction={model.recipe.reconstruction.part()} does not; "
            "train with reconstruction=mse or l1, or export to ONNX"
        )
    if made.stem not in (None, made.levels[0]):
        raise UsageError(
            f"in diffusers network.stem is the finest width, {made.levels[0]}, not {made.stem}; export to ONNX"
        )
    if isinstance(squeeze, vq.Config):
        own = _vq_config(made, squeeze)
    elif isinstance(squeeze, gaussian.Config):
        own = _kl_config(made, squeeze)
    else:
        raise UsageError(
            f"diffusers has a class for bottleneck=vq and gaussian, not for {squeeze.part()}; export to ONNX"
        )
    return {**own, **_network_config(model, made), **_scaling(model)}


def _vq_config(made: ldm.Config, squeeze: vq.Config) -> dict[str, Any]:
    """What VQModel alone has."""
    if made.double:
        raise UsageError(
            "the encoder of a VQModel puts out as many channels as its decoder reads: network.double=false"
        )
    return {"_class_name": "VQModel", "num_vq_embeddings": squeeze.size, "vq_embed_dim": squeeze.channels}


def _kl_config(made: ldm.Config, squeeze: gaussian.Config) -> dict[str, Any]:
    """What AutoencoderKL alone has."""
    if not made.double or made.entry != squeeze.channels:
        raise UsageError(
            f"an AutoencoderKL has as many channels around its latent as in it: train with network.double=true and "
            f"network.channels={squeeze.channels}, or export to ONNX"
        )
    return {"_class_name": "AutoencoderKL"}


def _network_config(model: Model, made: ldm.Config) -> dict[str, Any]:
    """What both classes say of the network."""
    levels = range(len(made.levels))
    decoder = made.attention if made.decoder_attention is None else made.decoder_attention
    height, width = model.spec.space
    return {
        "in_channels": model.spec.channels,
        "out_channels": model.spec.channels,
        "down_block_types": [DOWN_ATTENTION if level in made.attention else DOWN for level in levels],
        "up_block_types": [UP_ATTENTION if level in decoder else UP for level in reversed(levels)],
        "block_out_channels": list(made.levels),
        "layers_per_block": made.blocks,
        "act_fn": "silu",
        "latent_channels": made.entry,
        "norm_num_groups": made.groups,
        "mid_block_add_attention": made.middle_attention,
        "sample_size": height if height == width else [height, width],
    }


def _scaling(model: Model) -> dict[str, Any]:
    """The statistics of latents: one factor where that is all, else per channel, which a VQModel keeps but does not know."""
    mean, std = model.codec.mean.cpu(), model.codec.std.cpu()
    even = bool((mean == mean[0]).all() and (std == std[0]).all())
    if even and isinstance(model.recipe.bottleneck, gaussian.Config):
        return {"scaling_factor": _inverse(std[0]), "shift_factor": float(mean[0]) or None}
    if even and float(mean[0]) == 0:
        return {"scaling_factor": _inverse(std[0])}
    return {"scaling_factor": 1.0, "latents_mean": mean.tolist(), "latents_std": std.tolist()}


def _inverse(std: Tensor) -> float:
    """1 / std with as few digits as give the same std again."""
    exact = 1 / float(std)
    short = float(f"{exact:.7g}")
    return short if torch.equal(torch.tensor(1 / short), std) else exact


def _tensors(model: Model) -> dict[str, Tensor]:
    """The weights by their names; a convolution where we have a linear map of channels."""
    tensors = dict(foreign_part(model.codec))
    if EMBEDDING in tensors:
        tensors[EMBEDDING] = model.codec.bottleneck.codebook()
    named = {theirs(name, TABLE): tensor.detach().cpu() for name, tensor in tensors.items()}
    named["quant_conv.weight"] = named["quant_conv.weight"][:, :, None, None]
    return {name: tensor.contiguous() for name, tensor in named.items()}
