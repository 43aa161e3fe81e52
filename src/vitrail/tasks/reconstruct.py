"""What is left of pictures after the model's bottleneck."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitrail.metrics.psnr import psnr
from vitrail.tasks._parameters import Pictures, Run


@dataclass(frozen=True)
class Reconstruction:
    """Pictures and what the model makes of them."""

    x: Tensor  # (B, C, H, W) in [0, 1]
    x_hat: Tensor  # likewise
    psnr: Tensor  # (B,) dB, infinite where nothing was lost

    def pairs(self, columns: int = 8) -> Tensor:
        """(B', C, H, W) for a grid of `columns`: rows of originals, each over its reconstructions, filled up with white."""
        missing = -len(self.x) % min(columns, len(self.x))
        white = self.x.new_ones(missing, *self.x.shape[1:])
        both = [torch.cat([part, white]).split(columns) for part in (self.x, self.x_hat)]
        return torch.cat([row for rows in zip(*both, strict=True) for row in rows])


def reconstruct(model: Run, x: Pictures) -> Reconstruction:
    """Encode and decode pictures."""
    x = model.read(x)
    x_hat = model.reconstruct(x)
    return Reconstruction(x, x_hat, psnr(x, x_hat))
