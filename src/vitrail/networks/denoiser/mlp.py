"""A residual fully connected denoiser, for latents that are vectors, or maps of so few points that they may as well be.

Data flow:

    z (B, inputs, *S) -> flatten -> linear -> h (B, D) -> depth x [h + gate * mlp(norm(h) * (1 + scale) + shift)] -> norm -> linear

Shift, scale and gate come from the noise level, the class and the mean of the caption's words (adaLN-zero: Peebles & Xie 2023,
section 3.2).
"""

from __future__ import annotations

from math import prod

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vitrail.errors import DataError, UsageError
from vitrail.networks.denoiser._conditioning import Conditioning
from vitrail.networks.denoiser._denoiser import Denoiser, Ports
from vitrail.networks.denoiser._text import Words
from vitrail.types import Config as PartConfig

LARGEST = 8192  # values of a sample; a map of more wants a network that knows neighbours


class Config(PartConfig):
    """A residual fully connected denoiser, for vectors and tiny maps."""

    width: int = Field(512, ge=8, multiple_of=2, description="values of the hidden vector")
    depth: int = Field(4, ge=1, description="residual blocks")
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="inside the residual blocks; null: the fewer samples, the more",
    )

    def build(self, ports: Ports) -> Mlp:
        """For samples of exactly this shape. Raises UsageError where they have too many values."""
        if ports.inputs * prod(ports.space) > LARGEST:
            raise UsageError(
                f"denoiser=mlp takes up to {LARGEST} values a sample, this latent has {ports.inputs} x {ports.space}; "
                "use denoiser=unet"
            )
        return Mlp(self, ports)


class Mlp(Denoiser):
    """(B, inputs, *S) -> (B, outputs, *S), for one S, which may be none."""

    def __init__(self, config: Config, ports: Ports) -> None:
        super().__init__()
        self.shape, self.shape_out = (ports.inputs, *ports.space), (ports.outputs, *ports.space)
        self.conditioning = Conditioning(256, config.width, ports)
        self.into = nn.Linear(prod(self.shape), config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.dropout or 0.0) for _ in range(config.depth))
        self.last = nn.Linear(config.width, prod(self.shape_out))
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def read(self, text: Tensor) -> Words | None:
        return self.conditioning.read(text)

    def forward(self, z: Tensor, told: Tensor, label: Tensor, text: Tensor | Words | None = None) -> Tensor:
        if tuple(z.shape[1:]) != self.shape:
            raise DataError(f"denoiser=mlp reads latents of shape {self.shape} only, got {tuple(z.shape[1:])}")
        seen = F.silu(self.conditioning(told, label, text)[0])
        h = self.into(z.flatten(1))
        for block in self.blocks:
            h = block(h, seen)
        return self.last(F.layer_norm(h, h.shape[-1:])).unflatten(1, self.shape_out)


class Block(nn.Module):
    """h + gate * linear(silu(linear(norm(h) * (1 + scale) + shift))); the gate starts at zero."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.modulation = nn.Linear(width, 3 * width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, h: Tensor, seen: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(seen).chunk(3, dim=1)
        inside = F.silu(self.up(F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift))
        return h + gate * self.down(F.dropout(inside, self.dropout, self.training))
