"""A decoder without an encoder: the generator of a GAN, which makes a sample of one vector of noise.

    z (B, D) -> dense -> (B, width, H/4, W/4) -> [block, double] -> [block] -> patches -> cut -> (B, outputs, H, W)

Every block is told z again, by the scale and shift after its norms: generators that are keep more of their noise.
Sources: residual blocks of Miyato et al. 2018, "Spectral normalization for GANs"; self-modulation: Chen et al. 2019.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vitrail.networks.convolution import CONV, axes, depth_to_space
from vitrail.types import Config as PartConfig
from vitrail.types import DataSpec

MOST = 7  # points along the longest side of the first map
CONTRAST = 0.2  # of a fresh generator's output: about data's own


class Config(PartConfig):
    """A generator; the latent is one vector."""

    widths: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="channels of each level, finest first; each level doubles. None: 64, 128, 256, 256 and so on, as many as "
        "bring the first map to at most 7 points a side",
    )
    patch: int = Field(
        2, ge=1, description="side of the patches that the last layer makes out of one point; 1: single values"
    )

    @property
    def levels(self) -> tuple[int, ...]:
        """The widths, which `fitted` has filled in where the user left them open."""
        assert self.widths is not None
        return self.widths

    @property
    def stride(self) -> int:
        """0: the latent is one vector, without the axes of the data."""
        return 0

    def fitted(self, spec: DataSpec) -> Config:
        """With everything that depends on the size of the data filled in."""
        if self.widths is not None:
            return self
        doublings = max(0, math.ceil(math.log2(max(spec.space, default=1) / self.patch / MOST)))
        return self.model_copy(update={"widths": (64, 128, *(256,) * doublings)[: doublings + 1]})

    def encoder(self, spec: DataSpec) -> None:
        """There is none."""

    def decoder(self, spec: DataSpec, channels: int, outputs: int) -> Decoder:
        """From a latent vector of `channels` to `outputs` values for each point of the data."""
        axes(spec, "use network=mlp")
        return Decoder(self, channels, outputs, spec.space)


class Decoder(nn.Module):
    """(B, D) -> (B, outputs, *S) of one fixed shape; what a first map of whole points makes too much is cut off."""

    def __init__(self, config: Config, channels: int, outputs: int, space: tuple[int, ...]) -> None:
        super().__init__()
        self.patch, self.space, widths, dims = config.patch, space, config.levels[::-1], len(space)
        step = config.patch * 2 ** (len(widths) - 1)
        self.grid = (*(-(-side // step) for side in space), widths[0])
        self.dense = nn.Linear(channels, math.prod(self.grid))
        nn.init.normal_(self.dense.weight, std=channels**-0.5)  # a map of variance 1 that is all noise
        nn.init.zeros_(self.dense.bias)
        pairs = zip((widths[0], *widths), widths, strict=False)
        self.blocks = nn.ModuleList(
            Block(inner, outer, dims, channels, up=level > 0) for level, (inner, outer) in enumerate(pairs)
        )
        self.norm = Modulated(widths[-1], channels)
        self.head = CONV[dims](widths[-1], outputs * config.patch**dims, 3, padding=1)
        self._start_head(outputs)

    def forward(self, z: Tensor) -> Tensor:
        h = self.dense(z).unflatten(1, self.grid).movedim(-1, 1)  # (B, width, *S), the channels of a point side by side
        for block in self.blocks:
            h = block(h, z)
        out = depth_to_space(self.head(F.relu(self.norm(h, z))), self.patch)
        return out[(slice(None), slice(None), *(slice(side) for side in self.space))]

    @torch.no_grad()
    def _start_head(self, outputs: int) -> None:
        """All values of a patch begin equal, else samples keep the checkerboard they begin with (Aitken et al. 2017)."""
        weight = self.head.weight
        of_patch = torch.randn(outputs, *weight.shape[1:]) * CONTRAST / math.sqrt(weight[0].numel() / 2)
        weight.copy_(of_patch.repeat_interleave(len(weight) // outputs, dim=0))
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)

    @property
    def last(self) -> Tensor:
        """The weight of the last layer."""
        return self.head.weight


class Block(nn.Module):
    """h + skip, doubled or not; its norms are scaled and shifted by z.

    Unlike the blocks of an autoencoder it starts with all its weights: a generator that starts as a linear map collapses.
    """

    def __init__(self, inner: int, outer: int, dims: int, channels: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.norm1, self.conv1 = Modulated(inner, channels), CONV[dims](inner, outer, 3, padding=1)
        self.norm2, self.conv2 = Modulated(outer, channels), CONV[dims](outer, outer, 3, padding=1)
        self.skip = nn.Identity() if inner == outer else CONV[dims](inner, outer, 1, bias=False)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        h = F.relu(self.norm1(x, z))
        h = F.relu(self.norm2(self.conv1(h), z))
        h = self.conv2(self.doubled(h))
        return h + self.doubled(self.skip(x))

    def doubled(self, x: Tensor) -> Tensor:
        """Every point becomes 2^dims equal ones."""
        return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.up else x


class Modulated(nn.Module):
    """The channels of every point to mean 0 and variance 1, then scaled and shifted as z says; at the beginning as they are.

    In bf16 on a CPU, over channels side by side, this takes a third of a group norm's time.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.told = nn.Linear(channels, 2 * width)
        nn.init.zeros_(self.told.weight)
        nn.init.zeros_(self.told.bias)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        points = x.movedim(1, -1)  # (B, *S, C)
        told = self.told(z).view(z.shape[0], *(1,) * (x.dim() - 2), -1)
        scale, shift = told.to(points.dtype).chunk(2, dim=-1)
        normed = F.layer_norm(points, points.shape[-1:])
        return torch.addcmul(shift, normed, 1 + scale).movedim(-1, 1)
