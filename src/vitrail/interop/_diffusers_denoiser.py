"""Denoisers as diffusers has them: UNet2DModel and DiTTransformer2DModel, config.json and weights.

Of what a denoiser can be, these classes know a part; the rest is refused by name.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vitrail.errors import UsageError
from vitrail.interop._keys import Table, theirs
from vitrail.networks.denoiser.dit import DiT
from vitrail.networks.denoiser.unet import UNet

INSTEAD = "sample with vitrail, or train with denoiser=unet"
NULL = 1000  # the row of no class that diffusers' DiTPipeline takes for granted

UNET: Table = (
    (r"^conditioning\.scalars\.0\.", "time_embedding."),
    (r"^conditioning\.label\.", "class_embedding."),
    (r"\.downsampler\.", ".downsamplers.0.conv."),
    (r"\.upsampler\.", ".upsamplers.0.conv."),
    (r"^mid_block\.attention\.", "mid_block.attentions.0."),
    (r"(\.attentions\.\d+)\.out\.", r"\1.to_out.0."),
)
DIT: Table = (
    (r"^modulation\.", "proj_out_1."),
    (r"^blocks\.", "transformer_blocks."),
    (r"\.modulation\.", ".norm1.linear."),
    (r"\.out\.", ".attn1.to_out.0."),
    (r"\.qkv\.", ".attn1.qkv."),
    (r"\.up\.", ".ff.net.0.proj."),
    (r"\.down\.", ".ff.net.2."),
)


class Component(NamedTuple):
    """One folder of a pipeline."""

    folder: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]


def component(net: nn.Module, channels: int, classes: int) -> Component:
    """A denoiser of maps with so many channels, which reads nothing but them. Raises UsageError for what diffusers lacks."""
    if isinstance(net, UNet):
        return Component("unet", _unet_config(net, channels, classes), _contiguous(_unet_tensors(net)))
    if isinstance(net, DiT):
        return Component("transformer", _dit_config(net, channels, classes), _contiguous(_dit_tensors(net, channels)))
    raise UsageError(
        f"diffusers has a class for denoiser=unet and dit, not for {type(net).__name__.lower()}; {INSTEAD}"
    )


def _unet_config(net: UNet, channels: int, classes: int) -> dict[str, Any]:
    """What UNet2DModel is built from."""
    _check_axes(net.space)
    if net.patch > 1:
        raise UsageError(
            f"a UNet2DModel reads points, not patches of {net.patch} x {net.patch}: train with denoiser.patch=1"
        )
    widths, attends = net.config.widths(net.space), net.config.attends(net.space)
    coarsest = 2 ** (len(widths) - 1)
    if any(side % coarsest for side in net.space):
        raise UsageError(
            f"a UNet2DModel of {len(widths)} levels wants sides that are multiples of {coarsest}, not {net.space}; "
            "train with fewer denoiser.multipliers"
        )
    return {
        "_class_name": "UNet2DModel",
        "sample_size": _size(net.space),
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": list(widths),
        "layers_per_block": net.config.blocks,
        "down_block_types": ["AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends],
        "up_block_types": ["AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)],
        "dropout": net.config.dropout or 0.0,
        "attention_head_dim": net.head,
        "norm_num_groups": net.groups,
        "attn_norm_num_groups": net.groups,
        "norm_eps": 1e-6,
        "resnet_time_scale_shift": "scale_shift" if net.config.scaling else "default",
        "num_class_embeds": classes + 1 if classes else None,
        "freq_shift": 0,
        "flip_sin_to_cos": True,
    }


def _unet_tensors(net: UNet) -> dict[str, Tensor]:
    """Weights by diffusers' names."""
    return _split({theirs(name, UNET): tensor for name, tensor in net.state_dict().items()})


def _dit_config(net: DiT, channels: int, classes: int) -> dict[str, Any]:
    """What DiTTransformer2DModel is built from."""
    _check_axes(net.space)
    if not net.config.classic:
        raise UsageError("a DiTTransformer2DModel is the transformer of 2023: train with denoiser.classic=true")
    height, width = net.space
    if height != width or height % net.patch:
        raise UsageError(
            f"a DiTTransformer2DModel reads squares with sides that are multiples of {net.patch}, not {net.space}; {INSTEAD}"
        )
    return {
        "_class_name": "DiTTransformer2DModel",
        "num_attention_heads": net.config.heads,
        "attention_head_dim": net.config.width // net.config.heads,
        "in_channels": channels,
        "out_channels": channels,
        "num_layers": net.config.depth,
        "dropout": net.config.dropout or 0.0,
        "attention_bias": True,
        "sample_size": height,
        "patch_size": net.patch,
        "activation_fn": "gelu-approximate",
        "num_embeds_ada_norm": max(classes, NULL) if classes else 1,
        "norm_type": "ada_norm_zero",
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
    }


def _dit_tensors(net: DiT, channels: int) -> dict[str, Tensor]:
    """Weights by diffusers' names: embeddings in every block, patches in its order."""
    own = dict(net.state_dict())
    embeddings = {name: own.pop(name) for name in list(own) if name.startswith("conditioning.")}
    patches = (channels, net.patch, net.patch)
    told = {
        f"timestep_embedder.{name.removeprefix('conditioning.scalars.0.')}": tensor
        for name, tensor in embeddings.items()
        if ".scalars." in name
    }
    told["class_embedder.embedding_table.weight"] = _labels(
        embeddings.get("conditioning.label.weight"), net.config.width
    )
    made = {
        "pos_embed.proj.weight": own.pop("into.weight").unflatten(1, patches),
        "pos_embed.proj.bias": own.pop("into.bias"),
        "proj_out_2.weight": own.pop("last.weight").unflatten(0, patches).permute(1, 2, 0, 3).flatten(0, 2),
        "proj_out_2.bias": own.pop("last.bias").unflatten(0, patches).permute(1, 2, 0).flatten(),
    }
    blocks = {
        f"transformer_blocks.{i}.norm1.emb.{name}": tensor
        for i in range(net.config.depth)
        for name, tensor in told.items()
    }
    return {**made, **blocks, **_split({theirs(name, DIT): tensor for name, tensor in own.items()})}


def _labels(table: Tensor | None, width: int) -> Tensor:
    """The table of classes with that of no class from row NULL on, or behind the last where there are more; zeros without."""
    if table is None:
        return torch.zeros(2, width)
    rows = max(NULL + 1 - len(table), 0)
    return torch.cat([table, table[-1:].expand(rows, -1)])


def _split(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values as a layer each."""
    made: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".qkv." in name:
            made |= {
                name.replace(".qkv.", f".to_{which}."): part for which, part in zip("qkv", tensor.chunk(3), strict=True)
            }
        else:
            made[name] = tensor
    return made


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, each with memory of its own."""
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def _check_axes(space: tuple[int, ...]) -> None:
    if len(space) != 2:
        raise UsageError(
            f"diffusers' denoisers are for maps with 2 space axes, this one has {len(space)}; sample with vitrail"
        )


def _size(space: tuple[int, ...]) -> int | list[int]:
    return space[0] if space[0] == space[1] else list(space)
