"""DINOv2's vision transformer: the class token as features, from weights in the layout of facebookresearch/dinov2.

The layout and arithmetic follow the published definition; it has not yet been run here on the real weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

from vitrail.errors import ModelError
from vitrail.networks.features._interface import FeatureNet, to_rgb
from vitrail.types import Config as PartConfig

HEAD = 64  # width of a head in every published size
SIDE = 16  # patches along a side of what the net sees
LOOKS = 4  # maps at most, at even distances along the depth
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB


class Config(PartConfig):
    """Sizes of the transformer; `from_weights` reads them off a state dict."""

    width: int = Field(384, ge=HEAD, multiple_of=HEAD, description="D of the tokens, a multiple of 64")
    depth: int = Field(12, ge=1, description="number of blocks")
    hidden: int = Field(1536, ge=1, description="width inside the blocks' MLP")
    patch: int = Field(14, ge=1, description="side of a patch in pixels")
    grid: int = Field(37, ge=1, description="patches along a side that the stored positions are for")
    registers: int = Field(0, ge=0, description="register tokens")

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor]) -> Config:
        """Sizes inferred from names and shapes.   Raises ModelError where they fit no DINOv2 of this layout."""
        try:
            width, _, patch, _ = weights["patch_embed.proj.weight"].shape
            grid = math.isqrt(weights["pos_embed"].shape[1] - 1)
            hidden = weights["blocks.0.mlp.fc1.weight"].shape[0]
        except (KeyError, ValueError, IndexError) as error:
            raise ModelError(f"these weights are no DINOv2 with plain MLPs: {error} is missing or misshapen") from None
        depth = len({found[1] for key in weights if (found := re.match(r"blocks\.(\d+)\.", key))})
        registers = weights["register_tokens"].shape[1] if "register_tokens" in weights else 0
        if width % HEAD:
            raise ModelError(f"these weights are no DINOv2: width {width} is not a multiple of {HEAD}")
        return cls(width=width, depth=depth, hidden=hidden, patch=patch, grid=grid, registers=registers)

    def build(self) -> Dino:
        return Dino(self)


class Dino(FeatureNet):
    """Pictures resized to 16 x 16 patches (224 pixels at patch 14) -> tokens -> blocks -> norm -> class token.

    Grey pictures are repeated to RGB.   Source: Oquab et al. 2024; registers: Darcet et al. 2024.
    """

    name = "dino"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        looks = min(LOOKS, config.depth)
        self.looks = [round((look + 1) * config.depth / looks) - 1 for look in range(looks)]  # blocks that are maps
        self.width, self.widths = config.width, (config.width,) * looks
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.grid**2, config.width))
        self.mask_token = nn.Parameter(torch.zeros(1, config.width))  # of pre-training; stored, never read
        if config.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, config.width))
        self.patch_embed = Patches(config.width, config.patch)
        self.blocks = nn.ModuleList(Block(config.width, config.hidden) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=1e-6)

    def features(self, x: Tensor) -> Tensor:
        """(B, D), the class token after the last norm."""
        tokens: Tensor = self.norm(self.tokens(self._seen(x)))
        return tokens[:, 0].float()

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Patch tokens (B, D, 16, 16) as they leave up to four blocks, without the last norm; the first block first."""
        tokens, found = self._embedded(self._seen(x)), []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.looks:
                found.append(tokens[:, 1 + self.config.registers :].mT.unflatten(2, (SIDE, SIDE)))
        return tuple(found)

    def tokens(self, x: Tensor) -> Tensor:
        """Class token, registers and patches after the last block: (B, 1 + registers + patches, D)."""
        tokens = self._embedded(x)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

    def _seen(self, x: Tensor) -> Tensor:
        """Pictures in [0, 1] as the net wants them: (B, 3, 16 * patch, 16 * patch), normalised."""
        side = SIDE * self.config.patch
        x = interpolate(to_rgb(x), (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        return (x - x.new_tensor(MEAN).view(3, 1, 1)) / x.new_tensor(STD).view(3, 1, 1)

    def _embedded(self, x: Tensor) -> Tensor:
        """Class token, registers and patches before the first block, with their positions."""
        patches = self.patch_embed(x)  # (B, D, rows, columns)
        rows, columns = patches.shape[2:]
        tokens = torch.cat((self.cls_token.expand(len(x), -1, -1), patches.flatten(2).mT), dim=1)
        tokens = tokens + self.positions(rows, columns)
        if self.config.registers:
            extra = self.register_tokens.expand(len(x), -1, -1)
            tokens = torch.cat((tokens[:, :1], extra, tokens[:, 1:]), dim=1)
        return tokens

    def positions(self, rows: int, columns: int) -> Tensor:
        """Position embeddings of any grid, (1, 1 + rows * columns, D), by bicubic interpolation of the stored one.

        As published: nets without registers scale by (side + 0.1) / grid, those with registers antialias instead.
        """
        grid, of_class = self.config.grid, self.pos_embed[:, :1]
        if (rows, columns) == (grid, grid):
            return self.pos_embed
        stored = self.pos_embed[:, 1:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
        if self.config.registers:
            resized = interpolate(stored, (rows, columns), mode="bicubic", antialias=True)
        else:
            scale = ((rows + 0.1) / grid, (columns + 0.1) / grid)
            resized = interpolate(stored, scale_factor=scale, mode="bicubic")
        assert resized.shape[2:] == (rows, columns)
        return torch.cat((of_class, resized.flatten(2).mT), dim=1)


class Patches(nn.Module):
    """Pictures to patch embeddings."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.proj(x)
        return embedded


class Block(nn.Module):
    """Pre-norm attention and MLP, each scaled per channel."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width)
        self.ls1 = Scale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, hidden)
        self.ls2 = Scale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class Attention(nn.Module):
    """Self-attention over all tokens, heads of width 64."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)  # each (B, heads, T, 64)
        mixed = scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(gelu(self.fc1(x)))
        return out


class Scale(nn.Module):
    """LayerScale.   Source: Touvron et al. 2021."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma
