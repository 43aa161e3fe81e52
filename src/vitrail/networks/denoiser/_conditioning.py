"""What a denoiser is told, as one vector per sample."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conditioning(nn.Module):
    """told (B, scalars) and label (B,) -> (B, width): the sum of the embeddings of each scalar and of the class.

    Always in float32, or in the type of the weights: in bf16 the numbers 999 and 1000 are one. The label's table has a last row for
    none. Without classes the label is ignored.
    """

    def __init__(
        self, frequencies: int, width: int, classes: int, scalars: int, hidden: int | None = None, shift: int = 0
    ) -> None:
        super().__init__()
        self.scalars = nn.ModuleList(Scalar(frequencies, hidden or width, width, shift) for _ in range(scalars))
        self.label = nn.Embedding(classes + 1, width) if classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=width**-0.5)  # DiT's 0.02 at the largest of its widths

    def forward(self, told: Tensor, label: Tensor) -> Tensor:
        with torch.autocast(told.device.type, enabled=False):
            out = torch.stack([embed(scalar) for embed, scalar in zip(self.scalars, told.unbind(1), strict=True)]).sum(
                0
            )
            return out if self.label is None else out + self.label(label)


class Scalar(nn.Module):
    """(B,) -> (B, width): waves, then two linear layers."""

    def __init__(self, frequencies: int, hidden: int, width: int, shift: int) -> None:
        super().__init__()
        self.frequencies, self.shift = frequencies, shift
        self.linear_1, self.linear_2 = nn.Linear(frequencies, hidden), nn.Linear(hidden, width)

    def forward(self, scalar: Tensor) -> Tensor:
        seen = waves(scalar, self.frequencies, self.shift).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(seen)))


def waves(x: Tensor, width: int, shift: int = 0) -> Tensor:
    """(...) -> (..., width): cosines, then sines, of x at wavelengths from 2 pi to 2 pi 10000.

    `width` is even. With shift 0 the longest wave is just left out, as in the code of DDPM; with 1 it is there.
    Source: Ho et al. 2020, appendix B; Vaswani et al. 2017, section 3.5.
    """
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=x.device)
    angles = x.float().unsqueeze(-1) * torch.exp(-math.log(10000.0) / (half - shift) * steps)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
