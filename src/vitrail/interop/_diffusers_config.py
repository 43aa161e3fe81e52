"""config.json of the two autoencoder classes of diffusers that are read and written, as far as there is something here for it.

A key that is not listed is refused by name, and so is a value that is not allowed.
"""

from __future__ import annotations

from typing import Any, Final, Literal, Self

import torch
from pydantic import Field, FiniteFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from vitrail.types import Config

DOWN: Final = "DownEncoderBlock2D"
DOWN_ATTENTION: Final = "AttnDownEncoderBlock2D"
UP: Final = "UpDecoderBlock2D"
UP_ATTENTION: Final = "AttnUpDecoderBlock2D"


class Settings(Config):
    """What both classes have in common."""

    in_channels: PositiveInt = 3
    out_channels: PositiveInt = 3
    down_block_types: tuple[Literal["DownEncoderBlock2D", "AttnDownEncoderBlock2D"], ...] = (DOWN,)
    up_block_types: tuple[Literal["UpDecoderBlock2D", "AttnUpDecoderBlock2D"], ...] = (UP,)
    block_out_channels: tuple[PositiveInt, ...] = Field((64,), min_length=1, max_length=16)
    layers_per_block: PositiveInt = Field(1, le=64)
    act_fn: Literal["silu", "swish"] = "silu"
    latent_channels: PositiveInt
    norm_num_groups: PositiveInt = 32
    sample_size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = 32
    scaling_factor: PositiveFloat | None = 0.18215
    latents_mean: tuple[FiniteFloat, ...] | None = None
    latents_std: tuple[PositiveFloat, ...] | None = None
    mid_block_add_attention: bool = True
    force_upcast: bool = True  # about half precision there; bottlenecks compute in float32 here

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not len(self.down_block_types) == len(self.up_block_types) == len(self.block_out_channels):
            raise ValueError("down_block_types, up_block_types and block_out_channels differ in length")
        if (self.latents_mean is None) != (self.latents_std is None):
            raise ValueError("latents_mean and latents_std come together")
        return self

    def network(self) -> dict[str, Any]:
        """As settings of networks/autoencoder/ldm.py."""
        last = len(self.up_block_types) - 1
        return {
            "widths": self.block_out_channels,
            "blocks": self.layers_per_block,
            "attention": [i for i, kind in enumerate(self.down_block_types) if kind == DOWN_ATTENTION],
            "decoder_attention": [i for i in range(last + 1) if self.up_block_types[last - i] == UP_ATTENTION],
            "middle_attention": self.mid_block_add_attention,
            "channels": self.latent_channels,
            "groups": self.norm_num_groups,
        }

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation that pipelines take latents to have."""
        scale = self.scaling_factor or 1.0
        mean, std = torch.tensor(self.latents_mean or 0.0), torch.tensor(self.latents_std or 1.0, dtype=torch.float64)
        return mean, (std / scale).float()


class KL(Settings):
    """AutoencoderKL."""

    latent_channels: PositiveInt = 4
    shift_factor: FiniteFloat | None = None
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True

    @model_validator(mode="after")
    def _one_mean(self) -> Self:
        if self.shift_factor and self.latents_mean:
            raise ValueError("shift_factor and latents_mean are both given")
        return self

    def network(self) -> dict[str, Any]:
        return {**super().network(), "double": True}

    def statistics(self) -> tuple[Tensor, Tensor]:
        mean, std = super().statistics()
        return mean + (self.shift_factor or 0.0), std


class VQ(Settings):
    """VQModel."""

    latent_channels: PositiveInt = 3
    num_vq_embeddings: PositiveInt = 256
    vq_embed_dim: PositiveInt | None = None
    norm_type: Literal["group"] = "group"
    lookup_from_codebook: bool = False  # whether its `decode` may be given codes: ours always may


CLASSES: dict[str, type[Settings]] = {"AutoencoderKL": KL, "VQModel": VQ}
