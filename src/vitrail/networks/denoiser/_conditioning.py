"""What a denoiser is told, as one vector per sample, and the words of a text beside it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.networks.denoiser._denoiser import Ports
from vitrail.networks.denoiser._text import TextEncoder, Words


class Conditioning(nn.Module):
    """told (B, scalars), label (B,), text (B, T) -> (B, width): the sum of the embeddings of each, and the words of the text.

    Scalars always in float32, or in the type of the weights: in bf16 the numbers 999 and 1000 are one. The label's table has a last
    row for none. Without classes the label is ignored, and without tokens the text.
    """

    def __init__(self, frequencies: int, width: int, ports: Ports, shift: int = 0) -> None:
        super().__init__()
        self.scalars = nn.ModuleList(Scalar(frequencies, width, shift) for _ in range(ports.scalars))
        self.label = nn.Embedding(ports.classes + 1, width) if ports.classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=width**-0.5)  # DiT's 0.02 at the largest of its widths
        self.text = TextEncoder(width, ports.tokens) if ports.tokens else None

    def forward(self, told: Tensor, label: Tensor, text: Tensor | Words | None = None) -> tuple[Tensor, Words | None]:
        words = self.read(text)
        with torch.autocast(told.device.type, enabled=False):
            parts = [embed(scalar) for embed, scalar in zip(self.scalars, told.unbind(1), strict=True)]
            out = torch.stack(parts).sum(0)
            out = out if self.label is None else out + self.label(label)
            return out if words is None else out + words.mean, words

    def read(self, text: Tensor | Words | None) -> Words | None:
        """The words of a text, once for as many calls as they are wanted for; None where none are learnt."""
        if self.text is None:
            return None
        return text if isinstance(text, Words) else self.text(text)


class Scalar(nn.Module):
    """(B,) -> (B, width): waves, then two linear layers."""

    def __init__(self, frequencies: int, width: int, shift: int) -> None:
        super().__init__()
        self.frequencies, self.shift = frequencies, shift
        self.linear_1, self.linear_2 = nn.Linear(frequencies, width), nn.Linear(width, width)

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
